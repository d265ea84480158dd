"""What `prepare` returns: a module to train, and all that its export needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.graph.model import Model
from quantlab.graph.placement import Place, Placement, Site, WeightSite
from quantlab.numerics.markup import card, table
from quantlab.qat.export_example import Example
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.normed import NormedLayer
from quantlab.qat.places import Places
from quantlab.qat.prepare_options import PrepareOptions
from quantlab.qat.scales import Quantizers
from quantlab.qat.tracing import Edge, Tracer


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A module with fake quantization where the Q/DQ model has Q/DQ.

    Attributes
    ----------
    module
        Takes and returns what the user's module does; train it in any loop. A copy: the user's own is as it was.
    float_model
        The ONNX model without Q/DQ, whose names tables and histograms have; normalised, with the weights of the start.
    quantizers
        By tensor and by weight; one object where tensors must share a scale. Those in no activation's or weight's way
        are left out.
    placement
        Where Q/DQ goes in `float_model`.
    unmatched
        ONNX node → why the module cannot have a quantizer at this layer, which stays in float in the Q/DQ model too;
        or «tensor» at «node» → why it has none there, although the Q/DQ model rounds that operand.
    not_copied
        Constant of the plan's model → why the module's parameters do not have it.
    traced_by
        fx, export or calls: what followed the module.
    folded
        The BatchNorms that are part of the layers before them now.
    table
        The scales of the start.
    options
        As asked for, with the plan's own target, head and floats.
    """

    module: nn.Module
    float_model: Model
    quantizers: Mapping[str, FakeQuantize]
    placement: Placement
    unmatched: Mapping[str, str]
    not_copied: Mapping[str, str]
    traced_by: Tracer
    folded: tuple[str, ...]
    table: ScaleTable
    options: PrepareOptions
    example: Example
    places: Places
    own: Quantizers
    operands: Mapping[Place, Edge]
    weight_method: WeightMethod | None = None

    def _repr_html_(self) -> str:
        facts = {
            "quantizers": len(self.quantizers), "target": self.options.target, "followed by": self.traced_by,
            "BatchNorms folded": len(self.folded), "left in float": len(self.unmatched),
        }  # fmt: skip
        floats = table(("cannot be quantized", "because"), self.unmatched.items(), most=20) if self.unmatched else ""
        return card("Prepared", facts, name=type(self.module).__name__, more=floats)

    @property
    def sites(self) -> Mapping[str, Site | WeightSite]:
        """The Q/DQ pairs of the placement by name: every activation's and every weight's."""
        found: dict[str, Site | WeightSite] = dict(self.placement.activations)
        for several in self.placement.weights.values():
            for site in several:
                found[site.weight if site.weight not in found else f"{site.weight} along {site.axis}"] = site
        return found

    def freeze_batch_norm(self) -> None:
        """Let every BatchNorm that is still trained keep its statistics from now on; γ and β go on learning."""
        for part in self.module.modules():
            if isinstance(part, NormedLayer):
                part.freeze()

    @contextmanager
    def floating(self) -> Iterator[nn.Module]:
        """Return the module, for a while, without rounding anything."""
        before = {q: q.enabled for q in {*self.own.activations.values(), *self.own.weights.values()}}
        try:
            for quantizer in before:
                quantizer.enabled = False
            yield self.module
        finally:
            for quantizer, enabled in before.items():
                quantizer.enabled = enabled

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))
