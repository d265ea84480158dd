"""Which tensors of the exported ONNX model are the input, the output and the weight of a module of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.normalise import Normalised, normalise
from quantlab.graph.patterns import WEIGHTED, weight_index
from quantlab.graph.view import Graph, operator
from quantlab.numerics.arrays import F32
from quantlab.qat.export_example import Example
from quantlab.qat.module_marks import INPUT, OUTPUT, marked_modules
from quantlab.qat.onnx_export import ExportOptions, export
from quantlab.qat.weight_factors import ModuleWeight, module_weight


@dataclass(frozen=True, slots=True)
class ModuleTensors:
    """Where the modules of a network are in its ONNX model.

    Attributes
    ----------
    model
        What `ql.export` makes of the network: the model that the names belong to.
    graph
        The same, normalised; its names are those that scale tables use.
    inputs, outputs
        Path of a module → the tensors that it reads first and that it returns, one a call, in the order of the calls.
    weights
        Path of a module → its weight in each node that it became; why it has none is told in `lost`.
    lost
        Path of a module → why one of its tensors is not in the model.
    aliases
        The user's name of a tensor that normalising removed → the one that holds its values.
    """

    model: Model
    graph: Graph
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, tuple[ModuleWeight, ...]]
    lost: Mapping[str, str]
    aliases: Mapping[str, str]


def find_module_tensors(
    network: nn.Module, example: Example, paths: Iterable[str], *, options: ExportOptions
) -> ModuleTensors:
    """Export a network, and find the modules of these paths in the ONNX model.

    The network is exported a second time with a mark before and after each module; the two models are walked side by
    side from their outputs, so that the names are those of the model without marks. The network is left as it was.

    Raises
    ------
    InputError, MachineError, UsageError
        As `quantlab.qat.export`.
    """
    modules = {path: module for path, module in network.named_modules() if path in set(paths)}
    model = export(network, example, options=options)
    normalised = normalise(model)
    marked = marked_modules(network, example, modules, options=options)
    ends = marked.ends
    pairs = _Pairs.of(normalise(marked.model), normalised)
    nodes = _weighted_nodes(Graph(marked.model.proto), ends)
    inputs = {path: pairs.tensors(ends.get(INPUT + path, ())) for path in modules}
    outputs = {path: pairs.tensors(ends.get(OUTPUT + path, ())) for path in modules}
    weights: dict[str, tuple[ModuleWeight, ...]] = {}
    lost: dict[str, str] = {}
    for path, module in modules.items():
        if INPUT + path not in ends:
            lost[path] = "the example does not reach it, or it reads no float tensor"
            continue
        if not isinstance(getattr(module, "weight", None), Tensor):
            continue
        try:
            weights[path] = _weights(module, [pairs.nodes[n] for n in nodes[path] if n in pairs.nodes], normalised)
        except InputError as error:
            lost[path] = str(error)
    return ModuleTensors(model, pairs.plain, inputs, outputs, weights, lost, normalised.all_aliases)


def _weights(module: nn.Module, nodes: list[onnx.NodeProto], normalised: Normalised) -> tuple[ModuleWeight, ...]:
    graph = Graph(normalised.model.proto)
    found: dict[str, ModuleWeight] = {}
    weight: F32 = module.weight.detach().to("cpu", torch.float32).numpy()  # type: ignore[operator]
    for node in nodes:
        index = weight_index(graph, node)
        if index is not None and node.input[index] not in found:
            found[node.input[index]] = module_weight(graph, node, index, weight)
    if not found:
        raise InputError("no operator with a constant weight of its own stands for it in the ONNX model")
    return tuple(found.values())


def _weighted_nodes(graph: Graph, ends: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the names of the weighted nodes between the input and the output of each module."""
    found: dict[str, list[str]] = {}
    for text, starts in ends.items():
        if not text.startswith(INPUT):
            continue
        path = text.removeprefix(INPUT)
        stop, waiting = set(starts), list(ends.get(OUTPUT + path, ()))
        seen, names = set(waiting), []
        while waiting:
            name = waiting.pop()
            node = graph.producer(name) if name not in stop else None
            if node is None:
                continue
            if operator(node) in WEIGHTED:
                names.append(node.name)
            fresh = [read for read in node.input if read and read not in seen]
            seen.update(fresh)
            waiting += fresh
        found[path] = names
    return found


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Two normalised models of one network, side by side.

    Attributes
    ----------
    plain
        The one without marks.
    same
        Tensor of the marked one → that of the plain one.
    nodes
        Name of a node of the marked one → the node of the plain one.
    aliases
        What became of the tensors that normalising removed from the marked one.
    """

    plain: Graph
    same: Mapping[str, str]
    nodes: Mapping[str, onnx.NodeProto]
    aliases: Mapping[str, str]

    @classmethod
    def of(cls, marked: Normalised, plain: Normalised) -> _Pairs:
        """Walk both from their outputs, as far as their operators are the same."""
        left, right = Graph(marked.model.proto), Graph(plain.model.proto)
        waiting = list(zip(left.outputs, right.outputs, strict=True))
        same: dict[str, str] = dict(waiting)
        nodes: dict[str, onnx.NodeProto] = {}
        while waiting:
            a, b = waiting.pop()
            one, two = left.producer(a), right.producer(b)
            if one is None or two is None or one.name in nodes or operator(one) != operator(two):
                continue
            nodes[one.name] = two
            # an exporter may leave out a bias of zeros, which comes last
            for x, y in (*zip(one.input, two.input, strict=False), *zip(one.output, two.output, strict=False)):
                if x and y and x not in same:
                    same[x] = y
                    waiting.append((x, y))
        return cls(right, same, nodes, marked.all_aliases)

    def tensors(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the plain model's names of tensors of the marked one, without those that are gone."""
        kept = (self.aliases.get(name, name) for name in names)
        return tuple(self.same[name] for name in dict.fromkeys(kept) if name in self.same)
