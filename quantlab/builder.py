"""A float model and a scale table in, an INT8 model with explicit Q/DQ out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from quantlab.calibration.provenance import Provenance, check_made_for
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.trt_cache import cache_of, render_cache
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.engines.opening import refuse_nothing
from quantlab.errors import UsageError
from quantlab.graph.metadata import chosen_on, provenance_of
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.placement import Head, place
from quantlab.graph.qdq import WeightForm, insert_qdq
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, operator
from quantlab.numerics import markup

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "QuantizeOptions",
    "QuantizedModel",
    "check_model",
    "chosen_on",
    "provenance_of",
    "quantize",
    "with_kept_names",
]


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """How a table becomes a Q/DQ model.

    Attributes
    ----------
    target
        tensorrt, tensorrt@8.6 … tensorrt@11.0: Q/DQ as that version's parser accepts it; ort: as ONNX Runtime fuses it.
    weights
        qdq: FP32 weights with Q and DQ; int8: INT8 weights with DQ, a quarter of the size.
    head
        float keeps the last weighted operator and the global pooling before it in float; int8 quantizes them.
    allow_missing
        Leave tensors float that the table lacks, instead of refusing.
    keep_float
        Names of weighted operators that stay float by wish.
    weight_method
        Scales of the weights that have no row in the table; None: the largest magnitude of each channel.
    """

    target: str = "tensorrt"
    weights: WeightForm = "int8"
    head: Head = "float"
    allow_missing: bool = False
    keep_float: tuple[str, ...] = ()
    weight_method: WeightMethod | None = None


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """An INT8 model and what became of each tensor.

    Attributes
    ----------
    model
        The Q/DQ model; `ql.save` writes it, `ql.engines.ort` opens it.
    floats
        Tensor or node → why it stays float.
    quantized
        The activations that got Q/DQ.
    weights
        A row for each quantized weight.
    provenance
        Where the scales came from; None if the table did not tell.
    target
        What the placement is for.
    """

    model: Model
    floats: Mapping[str, str]
    quantized: tuple[str, ...]
    weights: tuple[Scale, ...]
    provenance: Provenance | None
    target: str

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor or operator: «int8 activation», «int8 weight» or «float», and why it stays float."""
        import pandas as pd

        lines = [(name, "int8 activation", "") for name in self.quantized]
        lines += [(row.tensor, "int8 weight", "") for row in self.weights]
        lines += [(name, "float", reason) for name, reason in self.floats.items()]
        return pd.DataFrame(lines, columns=pd.Index(["name", "state", "reason"]))

    def _repr_html_(self) -> str:
        counts = {
            "activations in INT8": len(self.quantized),
            "weights in INT8": len(self.weights),
            "float": len(self.floats),
        }
        floats = markup.table(("stays float", "because"), self.floats.items(), most=20) if self.floats else ""
        return markup.card("QuantizedModel", {"target": self.target, **counts}, name=self.model.name, more=floats)


def quantize(
    model: str | PathLike[str] | Model | Any, table: ScaleTable, *, options: QuantizeOptions | None = None
) -> QuantizedModel:
    """Return the model with Q/DQ at the table's scales.

    Raises
    ------
    StaleError
        When the table was made for another model.
    InputError
        When the model or a scale cannot be used, or the table lacks tensors.
    """
    if not isinstance(table, ScaleTable):
        raise UsageError(f"quantize needs a ScaleTable, as calibrate or load return it, not {table!r:.60}.")
    settings = options or QuantizeOptions()
    loaded = load_model(model)
    check_model(table.provenance, loaded)
    normalised = normalise(loaded)
    graph = Graph(normalised.model.proto)
    _check_kept(graph, settings.keep_float)
    placement = place(graph, Target.parse(settings.target), head=settings.head, keep=settings.keep_float)
    refuse_nothing(placement)
    metadata = {"target": settings.target, "weights": settings.weights, "head": settings.head}
    if settings.keep_float:
        metadata["keep_float"] = json.dumps(sorted(settings.keep_float))
    if table.provenance is not None:
        metadata["provenance"] = json.dumps(table.provenance.to_json(), sort_keys=True)
    if table.cache_header is not None and all(row.scheme == "symmetric" and row.axis is None for row in table.rows):
        metadata["cache"] = render_cache(cache_of(table))  # all of it comes back from the model, what has no Q/DQ too
    result = insert_qdq(
        normalised.model,
        with_kept_names(table, normalised.all_aliases),
        placement,
        weights=settings.weights,
        weight_method=settings.weight_method,
        allow_missing=settings.allow_missing,
        metadata=metadata,
    )
    activations = tuple(name for name in result.used if name in placement.activations)
    built = load_model(result.proto)
    return QuantizedModel(built, result.floats, activations, result.weight_rows, table.provenance, settings.target)


def _check_kept(graph: Graph, names: tuple[str, ...]) -> None:
    weighted = {node.name for node in graph.nodes if operator(node) in WEIGHTED}
    for name in names:
        if name not in weighted:
            raise UsageError(
                f"«{name}» is no weighted operator of the model, so it cannot be kept in float; there are, for instance, "
                f"{', '.join(f'«{n}»' for n in sorted(weighted)[:3])}."
            )


def check_model(provenance: Provenance | None, model: Model) -> None:
    """Refuse what was made for another model.

    Raises
    ------
    StaleError
        When the digests differ.
    """
    check_made_for(provenance, model.digest, model.path.name if model.path else "the model")


def with_kept_names(table: ScaleTable, aliases: Mapping[str, str]) -> ScaleTable:
    """Return the table in which a tensor has a row if one that equals it has."""
    rows = {row.tensor: row for row in table.rows}
    more = {
        kept: replace(rows[gone], tensor=kept)
        for gone, kept in aliases.items()
        if gone in rows and kept not in rows and rows[gone].role != "weight"
    }
    return table.with_rows(more.values())
