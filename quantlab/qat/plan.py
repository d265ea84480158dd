"""What a module is prepared by: a float ONNX model, its scales, and where Q/DQ goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from quantlab.builder import with_kept_names
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import Normalised, normalise
from quantlab.graph.view import Graph, operator
from quantlab.qat.export_example import Example
from quantlab.qat.follow import Task
from quantlab.qat.onnx_export import ExportOptions, export
from quantlab.qat.prepare_options import PrepareOptions


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What `prepare` is asked for.

    Attributes
    ----------
    table
        The scales of the start, by names of `reference`.
    reference
        The float ONNX model that the module is to be, normalised.
    given
        Whether that is the plan's own, and not this module's.
    weight_method
        What gives the scales of weights without a row; None: the largest magnitude.
    """

    table: ScaleTable
    options: PrepareOptions
    reference: Normalised
    given: bool
    weight_method: WeightMethod | None

    @classmethod
    def of(cls, table: Any, options: PrepareOptions) -> Plan:
        """Return the plan of a table, or of what has `.model`, `.table` and `.options`.

        Raises
        ------
        UsageError
            For anything else.
        """
        empty = Normalised(Model(None, None, ""), {}, ())  # type: ignore[arg-type]
        if isinstance(table, ScaleTable):
            return cls(table, options, empty, False, None)
        plan = getattr(table, "candidate", table)
        if not isinstance(getattr(plan, "table", None), ScaleTable) or not hasattr(plan, "model"):
            raise UsageError(
                f"prepare needs a ScaleTable, or a plan with .model and .table as tune finds it, not {type(table).__name__}."
            )
        own = getattr(plan, "options", None)
        if own is not None:
            floats = tuple(dict.fromkeys((*own.keep_float, *options.keep_float)))
            options = replace(
                options, target=own.target, head=own.head, keep_float=floats, allow_missing=own.allow_missing
            )
        return cls(plan.table, options, normalise(load_model(plan.model)), True, getattr(own, "weight_method", None))

    @property
    def exporting(self) -> ExportOptions:
        """How the module becomes ONNX."""
        known = self.options
        return ExportOptions(
            known.opset, known.dynamic_batch, known.exporter, inputs=known.inputs, outputs=known.outputs
        )

    def with_reference(self, model: nn.Module, example: Example) -> Plan:
        """Return the plan with a float model whose names are the table's."""
        plan = self
        if not plan.given:
            plan = replace(plan, reference=normalise(export(model, example, options=plan.exporting)))
            if renamed := _inputs_of(plan):
                options = replace(plan.options, inputs=renamed)
                plan = replace(plan, options=options)
                plan = replace(plan, reference=normalise(export(model, example, options=plan.exporting)))
        return replace(plan, table=with_kept_names(plan.table, plan.reference.all_aliases))

    def refuse_added(self, task: Task) -> None:
        """Raise InputError if the plan's model has Mul nodes that the module does not have, and is like it otherwise."""
        own = normalise(export(task.model, task.example, options=task.options)).model if self.given else task.reference
        more = _operators(self.reference.model) - _operators(own)
        if more.keys() == {"Mul"}:
            raise InputError(
                f"The plan's model has {more['Mul']} Mul that {type(task.model).__name__} does not have: smoothing inserts "
                "one where no constant can take its scales. Search again without the rung «smoothing», or prepare the "
                "module with a scale table of its own ONNX model."
            )


def _operators(model: Model) -> Counter[str]:
    return Counter(operator(node) for node in model.proto.graph.node)


def _inputs_of(plan: Plan) -> tuple[str, ...]:
    """Return what the table calls the inputs, where it has another name in the place of each; else nothing."""
    graph = Graph(plan.reference.model.proto)
    known = {*graph.tensors(), *plan.reference.all_aliases, *graph.initializers}
    unknown = [row.tensor for row in plan.table.rows if row.role != "weight" and row.tensor not in known]
    first = [row.tensor for row in plan.table.rows[: len(graph.inputs)]]
    fits = len(unknown) == len(graph.inputs) and unknown == first and not plan.options.inputs
    return tuple(unknown) if fits else ()
