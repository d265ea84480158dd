"""A float network prepared for INT8, its scales and what stays float: what every rung takes and returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines import simulation
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.graph.model import Model, load_model

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
    """

    model: Model
    table: ScaleTable
    options: QuantizeOptions = field(default_factory=QuantizeOptions)

    def quantized(self) -> QuantizedModel:
        """Return the Q/DQ model."""
        return quantize(self.model, self.table, options=self.options)

    def engine(self, threads: int | None = None) -> OrtEngine:
        """Open the simulation of TensorRT's arithmetic, or ONNX Runtime itself where that is the target."""
        from quantlab.engines import ort

        built = self.quantized().model
        return ort(built, threads=threads) if self.options.target == "ort" else simulation(built, threads=threads)

    def with_model(self, model: Model, table: ScaleTable | None = None) -> Candidate:
        """Return the candidate with another float model, whose digest its table then names."""
        noted = _noted(model, _origin(self.model))
        rows = table or self.table
        if rows.provenance is not None:
            rows = replace(rows, provenance=replace(rows.provenance, model=noted.digest))
        return replace(self, model=noted, table=rows)

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
            return str(json.loads(entry.value)["of"])
    return model.digest


def _noted(model: Model, origin: str) -> Model:
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    kept = [entry for entry in proto.metadata_props if entry.key != PREPARED]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=PREPARED, value=json.dumps({"of": origin}))
    return load_model(proto)
