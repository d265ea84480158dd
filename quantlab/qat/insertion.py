"""Puts quantizers on the edges of a traced graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from torch import fx, nn

from quantlab.errors import InputError
from quantlab.qat.batch_norm import Pair, operands, value
from quantlab.qat.called import CalledModule
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.normed import NormedLayer
from quantlab.qat.places import Places
from quantlab.qat.scales import Quantizers
from quantlab.qat.tracing import edges, set_edges

HOLDER = "quantizers"
"""The submodule that holds the quantizers, each under its tensor's name."""

_OTHER = re.compile(r"\W+")


def insert(module: fx.GraphModule, places: Places, quantizers: Quantizers) -> None:
    """Let each edge of `places` carry what its quantizer makes of the value, in place.

    A value that several edges carry is quantized once. The quantizer of a `NormedLayer`'s weight goes into it.
    """
    inserted = _Insertion(module)
    for activation in places.activations:
        quantizer = quantizers.activations.get(activation.tensor)
        if quantizer is None:
            continue
        for edge in activation.edges:
            inserted.at(edge.node, edge.index, quantizer)
        if activation.output is not None:
            inserted.at_output(activation.output, quantizer)
    for weight in places.weights:
        for edge in weight.edges:
            layer = inserted.normed(edge.node)
            if layer is None:
                inserted.at(edge.node, edge.index, quantizers.weights[weight.site])
            else:
                layer.quantizer = quantizers.weights[weight.site]
    module.graph.lint()
    module.recompile()


def insert_into_calls(module: CalledModule, places: Places, quantizers: Quantizers) -> None:
    """As `insert`, for a module that is watched through its calls.

    Raises
    ------
    InputError
        When an output of the network is to be quantized.
    """
    for activation in places.activations:
        quantizer = quantizers.activations.get(activation.tensor)
        if quantizer is None:
            continue
        if activation.output is not None:
            raise InputError(
                f"The output «{activation.tensor}» is to be quantized, which needs a module that torch.fx or torch.export "
                "follows: take head='float'."
            )
        for edge in activation.edges:
            module.put(edge, quantizer)
    for weight in places.weights:
        for edge in weight.edges:
            module.put(edge, quantizers.weights[weight.site])


def with_normed_layers(module: fx.GraphModule, pairs: list[Pair]) -> dict[str, NormedLayer]:
    """Replace each layer and its BatchNorm by a `NormedLayer`, in place; return them by the layer's node."""
    found: dict[str, NormedLayer] = {}
    moved: list[str] = []
    for pair in pairs:
        if pair.module is None:
            continue
        weight, bias = operands(pair.layer)
        late = tuple(pair.layer.args[3:])
        named = {k: v for k, v in pair.layer.kwargs.items() if k not in {"input", "weight", "bias"}}
        old = None if bias is None else cast(nn.Parameter, value(module, bias))
        layer = NormedLayer(
            cast(nn.Parameter, value(module, weight)),
            old,
            pair.module,
            call=pair.layer.target,  # type: ignore[arg-type]
            late=late,
            named=named,
            groups=pair.groups,
        )
        name = f"normed.{_OTHER.sub('_', pair.layer.name)}"
        module.add_submodule(name, layer)
        given = pair.layer.args[0] if pair.layer.args else pair.layer.kwargs["input"]
        pair.layer.op, pair.layer.target = "call_module", name
        pair.layer.args, pair.layer.kwargs = (given,), {}
        pair.norm.replace_all_uses_with(pair.layer)
        module.graph.erase_node(pair.norm)
        found[pair.layer.name] = layer
        moved += [str(node.target) for node in (weight, bias) if node is not None]
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in dict.fromkeys(moved):
        path, _, last = name.rpartition(".")
        if name not in read and _holds(module, name):
            delattr(module.get_submodule(path), last)
    module.recompile()
    return found


def _holds(module: nn.Module, name: str) -> bool:
    try:
        module.get_parameter(name)
    except AttributeError:
        return False
    return True


class _Insertion:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._nodes = {node.name: node for node in module.graph.nodes}
        self._reads = {name: [read for _, read in edges(node)] for name, node in self._nodes.items()}
        self._made: dict[tuple[str, int], fx.Node] = {}
        self._names: dict[int, str] = {}
        if not hasattr(module, HOLDER):
            module.add_submodule(HOLDER, nn.Module())

    def at(self, node: str, index: int, quantizer: FakeQuantize) -> None:
        set_edges(self._nodes[node], {index: self._quantized(self._reads[node][index], quantizer)})

    def at_output(self, index: int, quantizer: FakeQuantize) -> None:
        output = next(node for node in self._module.graph.nodes if node.op == "output")
        self.at(output.name, index, quantizer)

    def normed(self, node: str) -> NormedLayer | None:
        target = self._nodes[node]
        found = self._module.get_submodule(str(target.target)) if target.op == "call_module" else None
        return found if isinstance(found, NormedLayer) else None

    def _quantized(self, read: fx.Node, quantizer: FakeQuantize) -> fx.Node:
        key = read.name, id(quantizer)
        if key not in self._made:
            with self._module.graph.inserting_after(self._behind(read)):
                self._made[key] = self._module.graph.call_module(self._name(quantizer), (read,))
        return self._made[key]

    def _behind(self, read: fx.Node) -> fx.Node:
        if read.op != "placeholder":
            return read
        return [node for node in self._module.graph.nodes if node.op == "placeholder"][-1]

    def _name(self, quantizer: FakeQuantize) -> str:
        if id(quantizer) not in self._names:
            stem = _OTHER.sub("_", quantizer.tensor).strip("_") or "tensor"
            holder, name, number = self._module.get_submodule(HOLDER), stem, 1
            while hasattr(holder, name):
                name, number = f"{stem}_{number}", number + 1
            holder.add_module(name, quantizer)
            self._names[id(quantizer)] = f"{HOLDER}.{name}"
        return self._names[id(quantizer)]


def quantizers_of(found: Quantizers) -> Mapping[str, FakeQuantize]:
    """Return the quantizers by name of the tensor; a weight with a second axis gets the axis behind its name."""
    named = dict(found.activations)
    for site, quantizer in found.weights.items():
        name = site.weight if site.weight not in named else f"{site.weight} along {site.axis}"
        named[name] = quantizer
    return named
