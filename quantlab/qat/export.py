"""The trained module as a Q/DQ model: its float ONNX model, the scales it learned, and PTQ's own builder."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines import ort
from quantlab.errors import InputError, UsageError
from quantlab.graph.editing import Editing
from quantlab.graph.model import Model, load_model, write_model
from quantlab.graph.placement import WeightSite
from quantlab.graph.qdq import WeightForm
from quantlab.graph.view import Graph
from quantlab.qat.export_example import arguments_of, flat
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.follow import marked_again
from quantlab.qat.matching import Alignment, align
from quantlab.qat.normed import NormedLayer
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.onnx_tracing import evaluating
from quantlab.qat.other_exporter import through_other, weights_of
from quantlab.qat.prepared import Prepared
from quantlab.qat.scales import learned_table

__all__ = ["Equality", "Exported", "evaluate_equality", "export"]


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A trained network as ONNX.

    Attributes
    ----------
    quantized
        The Q/DQ model, as `quantlab.quantize` returns it.
    table
        The scales: of activations, and of weights in rows of their own.
    float_model
        The trained network without Q/DQ; `quantize` made `quantized` of it and `table`.
    """

    quantized: QuantizedModel
    table: ScaleTable
    float_model: Model


def export(
    prepared: Prepared,
    path: str | PathLike[str] | None = None,
    *,
    weights: WeightForm = "int8",
    exporter: Literal["torchscript", "dynamo"] | None = None,
) -> Exported:
    """Return the trained network as a Q/DQ model, and write it if there is a path.

    The module goes to ONNX without its quantizers; nodes, tensors and weights have the names they had when it was
    prepared. The same placement and the same builder as PTQ's then write Q/DQ with the learned scales. Weights of fewer
    than 8 bits are multiples of their scales in the float model already.

    Parameters
    ----------
    prepared
        Its module is not changed, its mode neither.
    weights
        int8 or qdq, as `QuantizeOptions.weights`.
    exporter
        Another of torch's exporters than the one that `prepare` used; None takes the same.

    Raises
    ------
    InputError
        When torch's exporter fails, or the module computes another network than when it was prepared.
    """
    if not isinstance(prepared, Prepared):
        raise UsageError(f"export needs what prepare returned, not {type(prepared).__name__}.")
    chosen = exporter or prepared.options.exporter
    plain = plain_module(prepared)
    exporting = _export_options(prepared, chosen)
    if chosen == prepared.options.exporter:
        model = _renewed(prepared.float_model, marked_again(plain, prepared.example, exporting).model)
        weighted = dict(_weights(prepared, model))
    else:
        model = through_other(prepared, plain, exporting)
        weighted = dict(weights_of(prepared, model))
    table = _table(prepared, model, weighted)
    options = QuantizeOptions(
        target=prepared.options.target,
        weights=weights,
        head=prepared.options.head,
        allow_missing=prepared.options.allow_missing,
        keep_float=tuple(sorted(prepared.placement.kept)),
        weight_method=prepared.weight_method,
    )
    quantized = quantize(model, table, options=options)
    if path is not None:
        write_model(quantized.model, path)
    return Exported(quantized, table, model)


def plain_module(prepared: Prepared) -> nn.Module:
    """Return a copy of the trained module without quantizers, BatchNorms folded; weights below 8 bits are rounded."""
    module = copy.deepcopy(prepared.module).cpu()
    for part in module.modules():
        if isinstance(part, NormedLayer):
            part.merge()
    rounded = prepared.options.weight_bits < 8
    for part in list(module.modules()):
        if isinstance(part, FakeQuantize):
            part.enabled = rounded and part.tensor in prepared.placement.weights
    module.eval()
    return module


def _export_options(prepared: Prepared, exporter: Literal["torchscript", "dynamo"]) -> ExportOptions:
    known = prepared.options
    return ExportOptions(known.opset, known.dynamic_batch, exporter, inputs=known.inputs, outputs=known.outputs)


def _renewed(reference: Model, trained: Model) -> Model:
    """Return the reference with the constants of the trained model.

    Where parameters were equal at first, and one initializer, those that are not any more get initializers of their own.
    """
    alignment, new = align(reference, trained), Graph(trained.proto)
    _refuse_left(Graph(reference.proto), alignment)
    editing = Editing.of(reference)
    readers: dict[str, dict[tuple[str, int], str]] = {}
    nodes = {node.name: node for node in editing.draft.nodes}
    for place, theirs in alignment.operands.items():
        readers.setdefault(nodes[place[0]].input[place[1]], {})[place] = theirs
    for ours, places in readers.items():
        values = [np.asarray(new.constant(theirs)) for theirs in places.values()]
        first = values[0]
        if all(np.array_equal(value, first, equal_nan=True) for value in values):
            if not np.array_equal(editing.constant(ours), first, equal_nan=True):
                editing.replace(ours, first)
            continue
        for (node, index), value in zip(places, values, strict=True):
            editing.set_input(nodes[node], index, value, "weight" if index < 2 else "bias")
    for (node, index), theirs in alignment.added.items():  # zero at first, and left out by the exporter
        editing.set_input(nodes[node], index, np.asarray(new.constant(theirs)), "bias")
    return load_model(editing.finished().proto)


def _refuse_left(reference: Graph, alignment: Alignment) -> None:
    """Refuse a model some of whose weights the trained model does not have at the same place."""
    for node in reference.nodes:
        for index, name in enumerate(node.input if node.name in alignment.nodes else ()):
            value = reference.constant(name)
            known = (
                value is None or value.dtype.kind != "f" or value.size < 2 or (node.name, index) in alignment.missing
            )
            if not known and (node.name, index) not in alignment.operands:
                raise InputError(
                    f"The trained module has no constant of the shape of «{name}» at node «{node.name}»: it computes another "
                    "network than when it was prepared."
                )


def _weights(prepared: Prepared, model: Model) -> Iterator[tuple[WeightSite, FakeQuantize]]:
    inputs = {(node.name, index): name for node in model.proto.graph.node for index, name in enumerate(node.input)}
    for site, quantizer in prepared.own.weights.items():
        for name in dict.fromkeys(inputs[use] for use in site.uses):
            yield replace(site, weight=name), quantizer


def _table(prepared: Prepared, model: Model, weighted: Mapping[WeightSite, FakeQuantize]) -> ScaleTable:
    graph = Graph(model.proto)
    weights = [(site, q, np.asarray(graph.constant(site.weight)).shape) for site, q in weighted.items()]
    own = prepared.own.activations
    return learned_table(prepared.table, prepared.placement, own, weights, digest=model.digest)


@dataclass(frozen=True, slots=True)
class Equality:
    """How far a Q/DQ model in ONNX Runtime is from the fake-quantized module.

    Attributes
    ----------
    samples
        Compared.
    agreement
        Share, 0 … 1, of rows whose largest value along the last axis is at the same place, over all outputs.
    largest
        The largest difference of a value, in the outputs' own units.
    magnitude
        The largest magnitude that the module gave.
    identical
        Share of the values that are the same to the last bit.
    """

    samples: int
    agreement: float
    largest: float
    magnitude: float
    identical: float


def evaluate_equality(prepared: Prepared, exported: Exported, batches: Iterable[Any]) -> Equality:
    """Compare the module in eval mode with the exported model in ONNX Runtime, each operator as its definition says.

    `batches` are tensors, tuples of tensors or tensors by name, as the module takes them.

    Raises
    ------
    UsageError
        When there is no batch.
    """
    engine = ort(exported.quantized.model, optimize=False)
    names, outputs = list(engine.inputs), list(engine.outputs)
    samples, rows, same, values, equal = 0, 0, 0, 0, 0
    largest = magnitude = 0.0
    with evaluating(prepared.module), torch.no_grad():
        for batch in batches:
            given = arguments_of(prepared.module, _as_prepared(batch, prepared.example))
            on_device = [t.to(prepared.device) for t in given.tensors]
            named = dict(zip(given.named, on_device[len(given.positional) :], strict=True))
            found = flat(prepared.module(*on_device[: len(given.positional)], **named))
            exact = (found,) if isinstance(found, Tensor) else found
            arrays = {n: t.detach().cpu().numpy() for n, t in zip(names, given.tensors, strict=True)}
            got = engine.run(arrays)
            samples += len(given.tensors[0])
            for name, tensor in zip(outputs, exact, strict=True):
                one, two = tensor.cpu().numpy(), np.array(got[name])
                last = one.shape[-1] if one.ndim > 1 else 1
                same += int((one.reshape(-1, last).argmax(1) == two.reshape(-1, last).argmax(1)).sum())
                rows += one.size // last
                largest = max(largest, float(np.abs(one - two).max(initial=0.0)))
                magnitude = max(magnitude, float(np.abs(one).max(initial=0.0)))
                equal, values = equal + int((one == two).sum()), values + one.size
    if not samples:
        raise UsageError("evaluate_equality needs at least one batch; none was given.")
    return Equality(samples, same / rows, largest, magnitude, equal / values)


def _as_prepared(batch: Any, example: Any) -> Any:
    """Return a batch of tensors by name in the example's order, which is that of the model's inputs."""
    both = isinstance(batch, Mapping) and isinstance(example, Mapping) and batch.keys() == example.keys()
    return {name: batch[name] for name in example} if both else batch
