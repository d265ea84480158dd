"""A float model and a scale table make a model with explicit Q/DQ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import onnx

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.placement import Placement, place
from quantlab.graph.qdq_writer import QdqWriter
from quantlab.graph.site_params import activation_params, missing, names
from quantlab.graph.view import Graph

WeightForm = Literal["qdq", "int8"]
"""Weights as float32 behind Q and DQ, or stored as INT8 behind DQ: a quarter of the size, the same values."""

_OPSET = 13  # the first with a scale a channel


@dataclass(frozen=True, slots=True)
class Quantized:
    """A model with Q/DQ and what became of its tensors.

    Attributes
    ----------
    proto
        Checked by nobody yet; every tensor `x` keeps its name and has `x_quantized` and `x_dequantized` beside it.
    floats
        Why a tensor or node stays float, in graph order.
    used
        The tensors whose table rows were used, activations first, each in graph order.
    weight_rows
        The rows of the weights, from the table or computed, in graph order.
    """

    proto: onnx.ModelProto
    floats: Mapping[str, str]
    used: tuple[str, ...]
    weight_rows: tuple[Scale, ...]


def insert_qdq(
    model: Model,
    table: ScaleTable,
    placement: Placement,
    *,
    weights: WeightForm = "qdq",
    weight_method: WeightMethod | None = None,
    allow_missing: bool = False,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> Quantized:
    """Return the model with Q/DQ at the placement's sites; the same arguments give the same bytes.

    Parameters
    ----------
    model
        The normalised float model that the placement was made for; it is not changed.
    table
        A row for each of `placement.tensors`. Rows of role weight are used if their axis is the placement's.
    weights
        "qdq" or "int8".
    weight_method
        Scales of the weights that have no row; None: the largest magnitude of each channel.
    allow_missing
        Tensors without a row stay float, with the operators that read them, instead of being an error.
    metadata
        Kept in the model's `metadata_props` as JSON under the key quantlab.

    Raises
    ------
    InputError
        Rows missing, not symmetric for TensorRT or with a scale a channel; the placement of another model;
        an opset below 13; a weight with NaN.
    """
    graph = Graph(model.proto)
    _refuse(graph, placement)
    rows = {row.tensor: row for row in table.rows}
    activations = {name: row for name, row in rows.items() if row.role != "weight"}
    placement, lost = _covered(graph, activations, placement, allow_missing=allow_missing)
    params = activation_params(activations, placement)
    writer = QdqWriter(graph, placement, params, stored=weights == "int8")
    weight_rows = writer.add_weights(rows, weight_method)
    proto = writer.write()
    _note(proto, metadata)
    used = (*placement.tensors, *(row.tensor for row in weight_rows if rows.get(row.tensor) == row))
    floats = dict(placement.floats) | dict.fromkeys(lost, "no row in the scale table")
    return Quantized(proto, MappingProxyType(floats), used, weight_rows)


def _refuse(graph: Graph, placement: Placement) -> None:
    opset = next((o.version for o in graph.proto.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset < _OPSET:
        raise InputError(f"The model has opset {opset}; Q/DQ needs {_OPSET}: normalise the model first.")
    places = {(node.name, i): t for node in graph.nodes for i, t in enumerate(node.input)}
    sites = [(s.tensor, s.uses) for s in placement.activations.values()]
    sites += [(s.weight, s.uses) for several in placement.weights.values() for s in several]
    for tensor, uses in sites:
        for use in uses:
            if places.get(use) != tensor:
                raise InputError(
                    f"The placement is of another model: input {use[1]} of node '{use[0]}' is not '{tensor}' here."
                )


def _covered(
    graph: Graph, rows: Mapping[str, Scale], placement: Placement, *, allow_missing: bool
) -> tuple[Placement, tuple[str, ...]]:
    """Return a placement all of whose tensors have rows, and the tensors given up for it."""
    lost: tuple[str, ...] = ()
    while absent := missing(rows, placement):
        if not allow_missing:
            raise InputError(
                f"The scale table lacks {len(absent)} of the {len(placement.tensors)} tensors that {placement.target} "
                f"quantizes: {names(absent)}. Calibrate them, or let them stay float with --allow-missing "
                "(`allow_missing=True`)."
            )
        lost += absent
        kept = placement.kept
        placement = place(graph, placement.target, head=placement.head, without=frozenset(lost), keep=kept)
    return placement, lost


def _note(proto: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    kept = [entry for entry in proto.metadata_props if entry.key != "quantlab"]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    if metadata:
        proto.metadata_props.add(key="quantlab", value=json.dumps(dict(metadata), sort_keys=True))
