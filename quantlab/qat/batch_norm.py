"""BatchNorm behind a weighted layer: folded into its parameters, or trained on with the folded weight quantized."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_ATEN = torch.ops.aten
_ATEN_CONVOLUTIONS = (_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default)
_ATEN_TRANSPOSED = (_ATEN.conv_transpose1d.default, _ATEN.conv_transpose2d.input, _ATEN.conv_transpose3d.input)
_PADDED = (_ATEN.conv1d.padding, _ATEN.conv2d.padding, _ATEN.conv3d.padding)
TRANSPOSED: frozenset[Any] = frozenset((*_TRANSPOSED, *_ATEN_TRANSPOSED))
_LINEAR = (functional.linear, _ATEN.linear.default)
LAYERS: frozenset[Any] = frozenset((*_CONVOLUTIONS, *_ATEN_CONVOLUTIONS, *_PADDED, *TRANSPOSED, *_LINEAR))
"""Functions of (input, weight, bias, …)."""

BATCH_NORM: Mapping[Any, tuple[str, ...]] = {
    functional.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    _ATEN.batch_norm.default: ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"),
}
"""Functions that normalise → their parameters."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TRANSPOSED_GROUPS = 6
"""Where conv_transpose takes its groups, counted from the input."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a BatchNorm does in inference: each float [channels], or a number."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float

    @property
    def factor(self) -> Tensor:
        """γ / √(σ² + ε), float64 [channels]."""
        scaled = torch.rsqrt(self.variance.double() + self.epsilon)
        return scaled if self.weight is None else scaled * self.weight.double()


def fold(weight: Tensor, bias: Tensor | None, norm: Statistics, groups: int | None) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a layer with its BatchNorm in them, as ONNX folds it: in float64, rounded once.

    y = a · (W ∗ x + b) + (β − a·μ) with a = γ / √(σ² + ε). `groups` are those of a transposed convolution, whose output
    channels are on axis 1; None for the others, where they are on axis 0.
    """
    factor = norm.factor
    shift = -norm.mean.double() * factor
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if bias is not None:
        shift = shift + bias.double() * factor
    return (weight.double() * along_outputs(factor, weight, groups)).to(weight.dtype), shift.to(weight.dtype)


def along_outputs(values: Tensor, weight: Tensor, groups: int | None) -> Tensor:
    """Return [output channels] values in a shape that broadcasts over a weight."""
    spatial = (1,) * (weight.ndim - 2)
    if groups is None:
        return values.reshape(-1, 1, *spatial)
    each = values.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, weight.shape[1])
    return each.reshape(weight.shape[0], weight.shape[1], *spatial)


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer and the BatchNorm that alone reads it."""

    layer: fx.Node
    norm: fx.Node
    statistics: Statistics
    module: nn.Module | None
    groups: int | None


def pairs(module: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]]) -> list[Pair]:
    """Return the layers whose weight is a parameter and whose result only a BatchNorm reads.

    `shapes` are those of the graph's values: behind a Linear of more than two dimensions the norm has other channels.
    """
    modules = dict(module.named_modules())
    found = []
    for node in module.graph.nodes:
        known = _statistics(module, modules, node)
        layer = node.args[0] if known is not None else None
        if known is None or not isinstance(layer, fx.Node) or layer.target not in LAYERS or len(layer.users) != 1:
            continue
        if layer.target in _LINEAR and len(shapes.get(layer.name, ())) != 2:
            continue
        if all(read is None or read.op == "get_attr" for read in operands(layer)):
            norm = modules.get(node.target) if node.op == "call_module" else None
            found.append(Pair(layer, node, known, norm, groups_of(layer)))
    return found


def operands(layer: fx.Node) -> tuple[fx.Node, fx.Node | None]:
    """Return where weight and bias of a layer come from."""
    given = named_arguments(layer.target, layer.args, layer.kwargs)
    return cast(fx.Node, given["weight"]), cast("fx.Node | None", given.get("bias"))


def groups_of(layer: fx.Node) -> int | None:
    """Return the groups of a transposed convolution; None for other layers."""
    return groups_of_call(layer.target, layer.args, layer.kwargs)


def groups_of_call(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Return the groups of a call of a transposed convolution; None for other layers."""
    if function not in TRANSPOSED:
        return None
    late = args[_TRANSPOSED_GROUPS] if len(args) > _TRANSPOSED_GROUPS else 1
    return cast(int, kwargs.get("groups", late))


def named_arguments(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name: input, weight and bias of a layer, all of a BatchNorm's."""
    return dict(zip(BATCH_NORM.get(function, ("input", "weight", "bias")), args, strict=False)) | dict(kwargs)


def value(module: nn.Module, node: fx.Node) -> Tensor:
    """Return the parameter or buffer that a get_attr node reads."""
    return cast(Tensor, operator.attrgetter(cast(str, node.target))(module))


def fold_all(module: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Fold every BatchNorm into new parameters of the layer before it, in place; return the names of the norms.

    The weight keeps its name where nothing else reads it, so a module's state_dict has it where it was.
    """
    graph, folded = module.graph, []
    for pair in pairs(module, shapes):
        weight, bias = operands(pair.layer)
        old = None if bias is None else value(module, bias)
        new = fold(value(module, weight).detach(), old, pair.statistics, pair.groups)
        names = _names(graph, pair.layer, weight, bias)
        with graph.inserting_before(pair.layer):
            reads = [_stored(module, name, tensor.detach()) for name, tensor in zip(names, new, strict=True)]
        set_parameters(pair.layer, *reads)
        pair.norm.replace_all_uses_with(pair.layer)
        graph.erase_node(pair.norm)
        folded.append(str(pair.norm.target) if pair.norm.op == "call_module" else pair.norm.name)
    graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return tuple(folded)


def set_parameters(layer: fx.Node, weight: fx.Node, bias: fx.Node | None) -> None:
    """Let a layer read this weight and bias."""
    args = list(layer.args)
    for place, (name, read) in enumerate((("weight", weight), ("bias", bias)), start=1):
        if name in layer.kwargs or len(args) <= place:
            layer.update_kwarg(name, read)
        else:
            args[place] = read
    layer.args = tuple(args)


def _stored(module: fx.GraphModule, name: str, tensor: Tensor) -> fx.Node:
    set_parameter(module, name, tensor)
    return module.graph.get_attr(name)


def set_parameter(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a parameter at a dotted name; parts of the name that do not exist are made."""
    *path, last = name.split(".")
    holder = module
    for part in path:
        if not hasattr(holder, part):
            holder.add_module(part, nn.Module())
        holder = getattr(holder, part)
    if hasattr(holder, last):
        delattr(holder, last)
    holder.register_parameter(last, nn.Parameter(tensor.clone()))


def _names(graph: fx.Graph, layer: fx.Node, weight: fx.Node, bias: fx.Node | None) -> tuple[str, str]:
    """Return what the folded weight and bias are called: their old names if only this layer reads them."""
    target = str(weight.target)
    readers = [n for n in graph.nodes if n.op == "get_attr" and n.target == target]
    alone = len(readers) == 1 and len(weight.users) == 1
    stem = target.rpartition(".")[0] if alone else f"folded.{layer.name}"
    first = target if alone else f"{stem}.weight"
    return first, str(bias.target) if alone and bias is not None else f"{stem}.bias" if stem else "bias_of_" + first


def _statistics(module: nn.Module, modules: dict[str, nn.Module], node: fx.Node) -> Statistics | None:
    if node.op == "call_module":
        norm = modules.get(str(node.target))
        if not isinstance(norm, _NORMS) or norm.running_mean is None or norm.running_var is None:
            return None
        return Statistics(norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    if node.op != "call_function" or node.target not in BATCH_NORM:
        return None
    given = named_arguments(node.target, node.args, node.kwargs)
    reads = [given.get(name) for name in ("running_mean", "running_var", "weight", "bias")]
    if given.get("training") or any(not (r is None or (isinstance(r, fx.Node) and r.op == "get_attr")) for r in reads):
        return None
    mean, variance, weight, bias = (None if r is None else value(module, cast(fx.Node, r)) for r in reads)
    if mean is None or variance is None:
        return None
    return Statistics(mean, variance, weight, bias, cast(float, given.get("eps", 1e-5)))
