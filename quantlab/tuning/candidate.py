"""A float network prepared for INT8, its scales and what stays float: what every rung takes and returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.engines.opening import plain_network
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.graph.simulate import simulate
from quantlab.numerics.markup import card

PREPARED = "quantlab.prepared"
"""The key under which a prepared model notes the digest of the user's model."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One way to make the network INT8.

    Attributes
    ----------
    model
        Float: the user's own, or one with the same outputs whose weights and biases were prepared. A weight that was
        rounded is exactly integer · scale, so that writing Q/DQ gives these integers again.
    table
        A row for each activation, and for weights whose scale is not the largest magnitude / 127. Its provenance
        names `model`.
    options
        Target, head and the operators that stay float.
    exact
        The float model that computes what the user's does, before biases or weights were changed; None: `model` is it.
    """

    model: Model
    table: ScaleTable
    options: QuantizeOptions = field(default_factory=QuantizeOptions)
    exact: Model | None = None

    def _repr_html_(self) -> str:
        floats = ", ".join(self.options.keep_float)
        facts = {"target": self.options.target, "scales": len(self.table), "kept in float": floats}
        return card("Candidate", facts, name=self.model.name)

    @property
    def start(self) -> Model:
        """The float model to correct: it computes what the user's does."""
        return self.exact or self.model

    def quantized(self) -> QuantizedModel:
        """Return the Q/DQ model."""
        return quantize(self.model, self.table, options=self.options)

    def simulated(self) -> Model:
        """Return what runs to measure the candidate: TensorRT's arithmetic, or the Q/DQ model where ONNX Runtime is the target."""
        built = self.quantized().model
        return built if self.options.target == "ort" else simulate(built)

    def opened(self, simulated: Model, threads: int | None = None) -> OrtEngine:
        """Open what `simulated` returned."""
        network = plain_network(simulated)
        return OrtEngine(network, options=OrtOptions(threads=threads, integer_kernels=self.options.target == "ort"))

    def engine(self, threads: int | None = None) -> OrtEngine:
        """Open the candidate as it is measured."""
        return self.opened(self.simulated(), threads)

    def with_exact(self, model: Model, table: ScaleTable) -> Candidate:
        """Return the candidate with another model that computes what the user's does, and its scales."""
        return replace(self.corrected(model, table), exact=None)

    def corrected(self, model: Model, table: ScaleTable) -> Candidate:
        """Return the candidate with other weights or biases, and a table that names this model."""
        noted = _noted(model, _origin(self.model))
        if table.provenance is not None:
            table = replace(table, provenance=replace(table.provenance, model=noted.digest))
        return replace(self, model=noted, table=table, exact=self.start)

    def with_table(self, table: ScaleTable) -> Candidate:
        """Return the candidate with other scales."""
        return replace(self, table=table)

    def with_floats(self, names: tuple[str, ...]) -> Candidate:
        """Return the candidate in which exactly these operators stay float."""
        return replace(self, options=replace(self.options, keep_float=names))


def _origin(model: Model) -> str:
    """Return the digest of the user's model, whatever was prepared since."""
    for entry in model.proto.metadata_props:
        if entry.key == PREPARED:
            try:
                return str(json.loads(entry.value)["of"])
            except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
                raise InputError(f"The model's metadata «{PREPARED}» are damaged: prepare the model again.") from error
    return model.digest


def _noted(model: Model, origin: str) -> Model:
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    kept = [entry for entry in proto.metadata_props if entry.key != PREPARED]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=PREPARED, value=json.dumps({"of": origin}))
    return load_model(proto)
