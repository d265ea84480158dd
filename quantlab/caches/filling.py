"""Scales for tensors that hold the same values as one that has a scale."""

from __future__ import annotations

from dataclasses import replace

from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import parse_cache, table_of
from quantlab.graph.derive import Same, derivations
from quantlab.graph.metadata import noted
from quantlab.graph.model import Model
from quantlab.graph.patterns import moves
from quantlab.graph.view import Graph


def restored(table: ScaleTable, quantized: Model) -> ScaleTable | None:
    """Return the whole cache that a Q/DQ model was made of, in its order.

    None where the model does not hold it, or its scales are no more those of that cache.

    Raises
    ------
    InputError
        When the stored cache was damaged.
    """
    text = noted(quantized, "cache")
    if text is None:
        return None
    with_all = table_of(parse_cache(text))
    has = {row.tensor: row for row in with_all.rows}
    if any(row.tensor in has and has[row.tensor].scale != row.scale for row in table.rows):
        return None
    return with_all


def filled(table: ScaleTable, graph: Graph) -> ScaleTable:
    """Return the table with rows for outputs of operators that only move values, and for inputs of those that keep all.

    A calibrator before fusion gives these tensors the scale of their values too; Q/DQ stands at one of them alone.
    """
    rows = {row.tensor: row for row in table.rows}
    for tensor, found in reversed(tuple(derivations(graph).items())):
        if isinstance(found.rule, Same) and tensor in rows and found.source not in rows:
            rows[found.source] = replace(rows[tensor], tensor=found.source)
    for node in graph.nodes:
        if node.input and node.input[0] in rows and moves(graph, node):
            for output in node.output:
                if output and output not in rows:
                    rows[output] = replace(rows[node.input[0]], tensor=output)
    return replace(table, rows=tuple(rows.values()))
