"""A PyTorch module and its scales in, the module with fake quantization out: `quantlab.qat.prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines.opening import refuse_nothing
from quantlab.errors import InputError, UsageError
from quantlab.graph.placement import Placement, place
from quantlab.graph.site_params import missing, names
from quantlab.graph.target import Target
from quantlab.graph.view import Graph
from quantlab.qat.batch_norm import fold_all, pairs
from quantlab.qat.called import CalledModule
from quantlab.qat.export_example import Example, arguments_of
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.follow import TRACERS, Followed, Task, add_biases, marked_again
from quantlab.qat.insertion import insert, insert_into_calls, quantizers_of, with_normed_layers
from quantlab.qat.matching import align
from quantlab.qat.parameters import copy_constants, still_different
from quantlab.qat.places import Places, carry
from quantlab.qat.plan import Plan
from quantlab.qat.prepare_options import PrepareOptions
from quantlab.qat.prepared import Prepared
from quantlab.qat.scales import Quantizers, activation_quantizers, weight_range, weight_scales

__all__ = ["PrepareOptions", "Prepared", "prepare"]


def prepare(
    model: nn.Module,
    example: Example,
    table: ScaleTable | Any,
    *,
    options: PrepareOptions | None = None,
) -> Prepared:
    """Put fake quantization into a copy of a module, where PTQ puts Q/DQ, at the table's scales.

    Parameters
    ----------
    model
        Any `nn.Module`; layers may be of torch's classes, of classes derived from them, or calls of functions.
    example
        As for `quantlab.export`.
    table
        A `ScaleTable` whose names are those of this module's ONNX model, or what has `.model`, `.table` and
        `.options` (a candidate of `tune`, or its result): then weights and biases of that ONNX model are put into the
        module, and its options go before `options`. What the module cannot take is in `Prepared.not_copied`. Trained
        BatchNorms (`batch_norm="train"`) keep the module's own statistics.
    options
        See `PrepareOptions`.

    Raises
    ------
    UsageError
        For what is no module or table.
    InputError
        When neither torch.fx nor torch.export follows the module, its ONNX model is another than the plan's, or the
        table lacks its tensors.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"prepare needs a torch.nn.Module, not {type(model).__name__}.")
    plan = Plan.of(table, options or PrepareOptions())
    arguments = arguments_of(model, example, plan.options.inputs)
    plan = plan.with_reference(model, example)
    keep_norms = plan.options.batch_norm == "train"
    task = Task(model, example, arguments, plan.reference.model, plan.exporting, keep_norms)
    placed, followed = _best(plan, task)
    return _built(plan, placed, followed, example)


def _best(plan: Plan, task: Task) -> tuple[_Placed, Followed]:
    """Return what the first tracer that shows every layer finds, or else the one that shows most.

    Raises
    ------
    InputError
        When none follows the module.
    """
    found: list[tuple[_Placed, Followed]] = []
    failed = []
    for tracer in TRACERS:
        try:
            followed = task.followed(tracer)
        except InputError as error:
            failed.append(str(error))
            continue
        found.append((_placed(plan, followed), followed))
        if not found[-1][0].layers:
            break
    if not found:
        plan.refuse_added(task)
        raise InputError(
            f"{type(task.model).__name__} cannot be prepared. {' '.join(failed)} Write the part that is named with "
            "operators of torch's own."
        )
    return min(found, key=lambda pair: (len(pair[0].layers), len(pair[0].unmatched)))


@dataclass(frozen=True, slots=True)
class _Placed:
    placement: Placement
    places: Places
    unmatched: Mapping[str, str]
    layers: frozenset[str]


def _placed(plan: Plan, followed: Followed) -> _Placed:
    """Return the placement in which layers that the graph does not show stay in float."""
    graph = Graph(plan.reference.model.proto)
    keep, unmatched = set(plan.options.keep_float), dict[str, str]()
    while True:
        placement = _covered(graph, plan, frozenset(keep))
        places = carry(graph, placement, followed.traced)
        unmatched |= places.unmatched
        if places.layers <= keep:
            lost = frozenset(keep - set(plan.options.keep_float))
            left = dict(places.unmatched) | {name: reason for name, reason in unmatched.items() if name in lost}
            return _Placed(placement, places, left, lost)
        keep |= places.layers


def _covered(graph: Graph, plan: Plan, keep: frozenset[str]) -> Placement:
    """Return the placement all of whose tensors have rows.

    Raises
    ------
    InputError
        When the table lacks some, and they may not stay float; when nothing is left to quantize.
    """
    target, head = Target.parse(plan.options.target), plan.options.head
    rows = {row.tensor: row for row in plan.table.rows if row.role != "weight"}
    placement = place(graph, target, head=head, keep=keep)
    refuse_nothing(placement)
    lost: tuple[str, ...] = ()
    while absent := missing(rows, placement):
        if not plan.options.allow_missing:
            raise InputError(_lacks(plan, graph, absent, len(placement.tensors)))
        lost += absent
        placement = place(graph, target, head=head, without=frozenset(lost), keep=keep)
    return placement


def _lacks(plan: Plan, graph: Graph, absent: tuple[str, ...], count: int) -> str:
    known = {*graph.tensors(), *graph.initializers}
    foreign = [row.tensor for row in plan.table.rows if row.role != "weight" and row.tensor not in known]
    text = f"The scale table lacks {len(absent)} of the {count} tensors that {plan.options.target} quantizes: {names(absent)}."
    if not foreign:
        return f"{text} Calibrate them, or let them stay float with `allow_missing=True`."
    return (
        f"{text} It has {len(foreign)} that this module's ONNX model does not have ({names(foreign, 3)}): calibrate the "
        "model that quantlab.export makes of the module with the same exporter, opset and names of inputs and outputs, or "
        "give a plan with the .model that the table is of."
    )


def _built(plan: Plan, placed: _Placed, followed: Followed, example: Example) -> Prepared:
    reference = plan.reference.model
    graph = Graph(reference.proto)
    not_copied = _not_copied(plan, followed, graph, example)
    quantizers = _quantizers(plan, placed, graph)
    module, folded = followed.plain, followed.folded
    if followed.module is not None:
        module, folded = _with_norms(followed, followed.module, changed=plan.given)
    if isinstance(module, CalledModule):
        insert_into_calls(module, placed.places, quantizers)
    else:
        insert(module, placed.places, quantizers)
    return Prepared(
        module=module,
        float_model=reference,
        quantizers=quantizers_of(quantizers),
        placement=placed.placement,
        unmatched=placed.unmatched,
        not_copied=not_copied,
        traced_by=followed.tracer,
        folded=folded,
        table=plan.table,
        options=plan.options,
        example=example,
        places=placed.places,
        own=quantizers,
        operands=followed.traced.operands,
        weight_method=plan.weight_method,
    )


def _not_copied(plan: Plan, followed: Followed, reference: Graph, example: Example) -> dict[str, str]:
    """Give the module the reference's constants; return why it does not have some, those it does not need left out."""
    traced, added = followed.traced, add_biases(reference, followed)
    failed = copy_constants(reference, traced.graph, traced.alignment, followed.plain, followed.parameters)
    failed = {name: why for name, why in failed.items() if name not in added}
    if not failed:
        return failed
    now = marked_again(followed.plain, example, plan.exporting).model
    return still_different(reference, Graph(now.proto), align(plan.reference.model, now), failed)


def _quantizers(plan: Plan, placed: _Placed, graph: Graph) -> Quantizers:
    gradient, bits = plan.options.gradient, plan.options.weight_bits
    low, high = weight_range(bits)
    weights = {}
    for found in placed.places.weights:
        value = graph.constant(found.site.weight)
        if not found.edges or value is None:
            continue
        scale = torch.from_numpy(weight_scales(found.site, value, plan.table, plan.weight_method, bits))
        weights[found.site] = FakeQuantize(
            found.site.weight, scale, axis=found.axis, low=low, high=high, gradient=gradient
        )
    return Quantizers(activation_quantizers(plan.table, placed.placement, gradient), weights)


def _with_norms(followed: Followed, module: fx.GraphModule, *, changed: bool) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """Return the graph whose BatchNorms are trained, at the parameters of the graph in which they are folded."""
    layers = with_normed_layers(module, pairs(module, followed.shapes))
    rest = fold_all(module, followed.shapes)
    plain = dict(followed.plain.named_parameters())
    kept = {id(part) for layer in layers.values() for part in layer.parameters()}
    for name, tensor in module.named_parameters():
        if name in plain and id(tensor) not in kept and plain[name].shape == tensor.shape:
            tensor.data.copy_(plain[name].data)
    for name, layer in layers.items():
        if changed:
            layer.load_folded(*followed.parameters_of(name))
    return module, rest
