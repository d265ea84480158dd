"""A module as a traced graph whose ONNX model is the reference's: what `prepare` builds on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.attention_products import open_attention
from quantlab.qat.batch_norm import LAYERS, fold_all, operands, set_parameter, set_parameters, value
from quantlab.qat.called import CalledModule, called, constants_of
from quantlab.qat.distinct import Parameters, distinct
from quantlab.qat.export_example import Arguments, Example, arguments_of
from quantlab.qat.marks import Marked, exported_with_marks, marked_export
from quantlab.qat.matching import align
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.places import Traced
from quantlab.qat.tracing import Edge, Tracer, edges, from_inputs, traced_by_export, traced_by_fx, watched

TRACERS: tuple[Tracer, ...] = ("fx", "export", "calls")
"""In the order in which they are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A traced graph and what is known of it.

    Attributes
    ----------
    tracer
        What made it.
    module
        With its BatchNorms; None unless they were to be kept.
    plain
        With every BatchNorm folded that ONNX folds.
    folded
        Their names.
    traced
        How the reference stands to `plain`, as it was while all parameters were distinct.
    parameters
        Those of `plain`, at that time.
    shapes
        Of the values of `module`.
    """

    tracer: Tracer
    module: fx.GraphModule | None
    plain: fx.GraphModule | CalledModule
    folded: tuple[str, ...]
    traced: Traced
    parameters: Parameters
    shapes: Mapping[str, tuple[int, ...]]

    def parameters_of(self, layer: str) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a layer of `plain`."""
        if isinstance(self.plain, CalledModule):
            raise KeyError(layer)
        node = next(node for node in self.plain.graph.nodes if node.name == layer)
        weight, bias = operands(node)
        return value(self.plain, weight), None if bias is None else value(self.plain, bias)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A module, its example, and the ONNX model that its graph must stand to.

    Attributes
    ----------
    reference
        Normalised.
    options
        Of the export that the reference comes from.
    keep_norms
        Whether BatchNorms are to be trained.
    """

    model: nn.Module
    example: Example
    arguments: Arguments
    reference: Model
    options: ExportOptions
    keep_norms: bool

    def followed(self, tracer: Tracer) -> Followed:
        """Return the graph that a tracer makes.

        Raises
        ------
        InputError
            When the tracer does not manage, or its graph is another network than the reference.
        """
        if tracer == "calls":
            return _called(self)
        by_fx = tracer == "fx"
        batched = self.options.dynamic_batch
        module = (
            traced_by_fx(self.model, self.arguments)
            if by_fx
            else traced_by_export(self.model, self.arguments, batched=batched)
        )
        opened = copy.deepcopy(module)
        if open_attention(opened, watched(module, self.arguments).shapes, self.options.exporter):
            with suppress(InputError):  # exporters of other versions write attention in other steps
                return _followed(self, tracer, opened)
        return _followed(self, tracer, module)


def _followed(task: Task, tracer: Tracer, module: fx.GraphModule) -> Followed:
    kept = copy.deepcopy(module) if task.keep_norms else None
    shapes = watched(module, task.arguments).shapes
    folded = fold_all(module, shapes)

    def traced() -> Traced:
        seen = watched(module, task.arguments)
        changing = from_inputs(module.graph)
        marked = marked_export(module, task.example, changing & seen.shapes.keys(), options=task.options)
        constants = {
            edge: seen.constants[read.name]
            for node in module.graph.nodes
            for edge, read in edges(node)
            if read.name in seen.constants
        }
        return _traced(task, marked, constants)

    return Followed(tracer, kept, module, folded, *_told_apart(module, traced), shapes)


def _called(task: Task) -> Followed:
    module, seen = called(task.model, task.arguments)

    def traced() -> Traced:
        marked = exported_with_marks(module.marked(), task.example, options=task.options)
        return _traced(task, marked, constants_of(module, seen, task.arguments))

    folded = tuple(str(norm) for _, norm, *_ in seen.folds)
    return Followed("calls", None, module, folded, *_told_apart(module, traced), {})


def _told_apart(module: nn.Module, traced: Callable[[], Traced]) -> tuple[Traced, Parameters]:
    """Return what `traced` finds while no two parameters are equal, or as they are where that is another network."""
    with suppress(InputError), distinct(module):  # an exporter leaves out what multiplies by 1 or adds 0
        return traced(), Parameters.of(module)
    return traced(), Parameters.of(module)


def _traced(task: Task, marked: Marked, constants: Mapping[Edge, AnyArray]) -> Traced:
    readers: dict[str, tuple[Edge, ...]] = {}
    for edge in constants:
        readers[edge.node] = (*readers.get(edge.node, ()), edge)
    return Traced(marked, Graph(marked.model.proto), align(task.reference, marked.model), constants, readers)


def marked_again(module: nn.Module, example: Example, options: ExportOptions) -> Marked:
    """Export a traced module with the marks it had when it was followed: exporters simplify less across them.

    Raises
    ------
    InputError
        When torch's exporter fails.
    """
    if isinstance(module, CalledModule):
        return exported_with_marks(module.marked(), example, options=options)
    if not isinstance(module, fx.GraphModule):
        raise UsageError(f"export needs the module that prepare made, not {type(module).__name__}.")
    seen = watched(module, arguments_of(module, example, options.inputs))
    return marked_export(module, example, from_inputs(module.graph) & seen.shapes.keys(), options=options)


def add_biases(reference: Graph, followed: Followed) -> frozenset[str]:
    """Give layers without a bias the one that the reference has there (bias correction adds them); return the constants' names."""
    added: set[str] = set()
    for module in (followed.plain, followed.module):
        if isinstance(module, fx.GraphModule):
            added |= _with_biases(module, reference, followed.traced)
    return frozenset(added)


def _with_biases(module: fx.GraphModule, reference: Graph, traced: Traced) -> set[str]:
    added = set()
    nodes = {node.name: node for node in module.graph.nodes}
    for (name, index), constant in traced.alignment.missing.items():
        edge, bias = traced.edge((name, 0)), reference.constant(constant)
        layer = None if edge is None else nodes[edge.node]
        if layer is None or layer.target not in LAYERS or operands(layer)[1] is not None or bias is None or index != 2:
            continue
        set_parameter(module, f"biases.{layer.name}", torch.tensor(bias))
        with module.graph.inserting_before(layer):
            set_parameters(layer, operands(layer)[0], module.graph.get_attr(f"biases.{layer.name}"))
        added.add(constant)
    module.recompile()
    return added
