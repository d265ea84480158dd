"""A module that no tracer follows, watched through the calls of torch functions that its own forward makes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.batch_norm import BATCH_NORM, LAYERS, TRANSPOSED, Statistics, fold, groups_of_call, named_arguments
from quantlab.qat.export_example import Arguments, first_sentence
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.onnx_tracing import evaluating
from quantlab.qat.tracing import Edge

Step = Callable[[int, int, Tensor], Tensor]
"""(number of the call, which of its float tensors, the tensor) → the tensor to give it."""


class CalledModule(nn.Module):
    """Runs a module as it is and changes what its calls of torch functions read, by their number in the forward pass.

    Nothing of torch is replaced: calls are seen through torch's own `TorchFunctionMode`, while `forward` runs. A forward
    that takes another path than on the example is refused where a quantizer would meet another function.

    Attributes
    ----------
    inner
        A copy of the user's module.
    quantizers, folded
        By edge, and weight and bias by the number of the layer's call.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.quantizers = nn.ModuleDict()
        self.folded = nn.ParameterDict()
        self._at: dict[tuple[int, int], str] = {}
        self._functions: dict[int, str] = {}
        self._norms: frozenset[int] = frozenset()
        self._values: frozenset[Edge] = frozenset()
        self._reads: dict[int, tuple[str | None, ...]] = {}
        self._names: dict[int, str] = {}
        self._step: Step | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns, with fake quantization on the way."""
        self._names = {id(tensor): name for name, tensor in self.inner.named_parameters()}
        with _Calls(self._changed):
            return self.inner(*args, **kwargs)

    def put(self, edge: Edge, quantizer: FakeQuantize) -> None:
        """Quantize the value of an edge."""
        known = {id(module): name for name, module in self.quantizers.items()}
        name = known.get(id(quantizer), f"q{len(known)}")
        self.quantizers[name] = quantizer
        self._at[int(edge.node), edge.index] = name

    def _changed(self, number: int, function: Any, args: Any, kwargs: Any) -> tuple[bool, Any, Any]:
        """Return whether the first argument is the result already, and the arguments to call with."""
        expected, read = (
            self._functions.get(number, ""),
            tuple(self._names.get(id(t)) for t in _floats((args, kwargs))),
        )
        if expected != _name(function) or self._reads.get(number) != read:
            raise InputError(
                f"Call {number} of the module's forward is {_name(function)} of {_some(read)}, and was "
                f"{expected or 'none'} of {_some(self._reads.get(number, ()))} when it was prepared: its path depends on "
                "the input, which fake quantization cannot follow."
            )
        if number in self._norms:
            return True, args[0] if args else kwargs["input"], {}
        if f"{number}_weight" in self.folded:
            given = named_arguments(function, args, kwargs)
            given |= {part: self.folded[f"{number}_{part}"] for part in ("weight", "bias")}
            args, kwargs = (given.pop("input"), given.pop("weight"), given.pop("bias"), *args[3:]), dict(kwargs)
            for part in ("input", "weight", "bias"):
                kwargs.pop(part, None)
        leaves, spec = _pytree.tree_flatten((args, dict(kwargs)))
        place = 0
        for position, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                leaves[position] = self._value(number, place, leaf)
                place += 1
        args, kwargs = _pytree.tree_unflatten(leaves, spec)
        return False, args, kwargs

    def _value(self, number: int, place: int, tensor: Tensor) -> Tensor:
        if self._step is not None:
            tensor = self._step(number, place, tensor)
        name = self._at.get((number, place))
        return tensor if name is None else self.quantizers[name](tensor)

    def marked(self) -> CalledModule:
        """Return a copy that shares everything and marks each value that depends on the inputs."""
        values = self._values

        def step(number: int, place: int, tensor: Tensor) -> Tensor:
            text = f"{number}:{place}"
            edge = Edge(str(number), place)
            return torch.ops.quantlab.mark(tensor, text) if edge in values else tensor

        found = copy.copy(self)
        found._step = step
        return found


@dataclass(slots=True)
class Recording:
    """What a forward pass on the example calls.

    Attributes
    ----------
    functions
        By number.
    values
        Edges whose value depends on the inputs and is a float tensor.
    constants
        The other float values, arrays that share the parameters' memory.
    parameters
        By number, for each float tensor that a call reads, the parameter's name that it is.
    folds
        (number of a layer's call, number of the BatchNorm's, weight, bias).
    """

    functions: dict[int, str] = field(default_factory=dict)
    values: set[Edge] = field(default_factory=set)
    constants: dict[Edge, AnyArray] = field(default_factory=dict)
    parameters: dict[int, tuple[str | None, ...]] = field(default_factory=dict)
    folds: list[tuple[int, int, Tensor, Tensor]] = field(default_factory=list)


def called(model: nn.Module, arguments: Arguments) -> tuple[CalledModule, Recording]:
    """Return a module to put quantizers into, its BatchNorms folded, and what it calls.

    Raises
    ------
    InputError
        When the module fails on the example, or calls other functions the second time.
    """
    module = CalledModule(copy.deepcopy(model))
    module.eval()
    first = _recorded(module.inner, arguments)
    for layer, norm, weight, bias in first.folds:
        module.folded[f"{layer}_weight"], module.folded[f"{layer}_bias"] = nn.Parameter(weight), nn.Parameter(bias)
        module._norms |= {norm}
    module._functions, module._values = first.functions, frozenset(first.values)
    module._reads = first.parameters
    return module, first


def constants_of(module: CalledModule, found: Recording, arguments: Arguments) -> dict[Edge, AnyArray]:
    """Return the constants of a module that `called` returned, at the values its parameters have now."""
    now = _recorded(module.inner, arguments).constants
    for layer, *_ in found.folds:
        for place, part in enumerate(("weight", "bias"), start=1):
            now[Edge(str(layer), place)] = module.folded[f"{layer}_{part}"].detach().cpu().numpy()
    return now


class _Calls(TorchFunctionMode):
    """Numbers the calls of torch functions and lets `change` have a say in each."""

    def __init__(self, change: Callable[..., tuple[bool, Any, Any]]) -> None:
        super().__init__()
        self._change, self._number = change, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _computes(func, args, kwargs):
            return func(*args, **(kwargs or {}))
        number, self._number = self._number, self._number + 1
        done, given, named = self._change(number, func, args, kwargs or {})
        return given if done else func(*given, **named)


class _Record(TorchFunctionMode):
    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in model.named_parameters()}
        self.found, self._number = Recording(), 0
        self.changing = {id(t) for t in inputs}
        self.made: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        self.layers: dict[int, tuple[Any, Any, Any]] = {}
        self.norms: list[tuple[int, Any, Any, Any]] = []
        self._alive: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _computes(func, args, kwargs):
            return func(*args, **kwargs)
        number, self._number = self._number, self._number + 1
        self.found.functions[number] = _name(func)
        tensors = list(_tensors((args, kwargs)))
        floats = list(_floats((args, kwargs)))
        self.found.parameters[number] = tuple(self._names.get(id(tensor)) for tensor in floats)
        for place, tensor in enumerate(floats):
            self._read(number, place, tensor)
        if func in LAYERS:
            self.layers[number] = func, args, kwargs
        if func in BATCH_NORM:
            self.norms.append((number, func, args, kwargs))
        result = func(*args, **kwargs)
        changing = any(id(t) in self.changing for t in tensors)
        results = list(_tensors(result))
        for tensor in tensors if results else ():  # size() and its like read no values
            self.readers.setdefault(id(tensor), []).append(number)
        for tensor in results:
            self.made[id(tensor)] = number
            if changing:
                self.changing.add(id(tensor))
        self._alive.append((tensors, result))
        return result

    def _read(self, number: int, place: int, tensor: Tensor) -> None:
        edge = Edge(str(number), place)
        if id(tensor) in self.changing:
            self.found.values.add(edge)
        elif tensor.dtype == torch.float32:
            self.found.constants[edge] = tensor.detach().cpu().numpy()

    def folds(self) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        for number, func, args, kwargs in self.norms:
            given = named_arguments(func, args, kwargs)
            x, layer = given["input"], self.made.get(id(given["input"]))
            if layer not in self.layers or given.get("training") or self.readers[id(x)] != [number]:
                continue
            function, positional, named = self.layers[layer]
            own = named_arguments(function, positional, named)
            linear = function not in TRANSPOSED and own["weight"].ndim == 2
            if id(own["weight"]) in self.changing or (linear and x.ndim != 2) or given["running_mean"] is None:
                continue
            statistics = Statistics(
                given["running_mean"],
                given["running_var"],
                given.get("weight"),
                given.get("bias"),
                given.get("eps", 1e-5),
            )
            groups = groups_of_call(function, positional, named)
            weight, bias = fold(own["weight"], own.get("bias"), statistics, groups)
            yield layer, number, weight.detach(), bias.detach()


def _recorded(model: nn.Module, arguments: Arguments) -> Recording:
    with torch.no_grad(), evaluating(model), _Record(model, arguments.tensors) as record:
        try:
            model(*arguments.positional, **arguments.named)
        except Exception as error:  # whatever the user's own module raises
            raise InputError(f"{type(model).__name__} fails on the example ({first_sentence(error)}).") from error
    with torch.no_grad():
        record.found.folds = list(record.folds())
    return record.found


def _tensors(value: Any) -> Iterator[Tensor]:
    yield from (leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, Tensor))


def _floats(value: Any) -> Iterator[Tensor]:
    """Yield the float tensors: while an exporter traces, sizes are tensors too."""
    yield from (tensor for tensor in _tensors(value) if tensor.is_floating_point())


def _computes(function: Any, args: Any, kwargs: Any) -> bool:
    """Tell whether a call counts: it reads float tensors, and no attribute; training adds calls of other kinds."""
    if getattr(function, "__name__", "") in {"__get__", "__set__"}:
        return False
    return next(_floats((args, kwargs or {})), None) is not None


def _some(parameters: tuple[str | None, ...]) -> str:
    named = [f"«{name}»" for name in parameters if name]
    return " and ".join(named) if named else "no parameter"


def _name(function: Any) -> str:
    return resolve_name(function) or getattr(function, "__name__", str(function))
