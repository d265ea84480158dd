"""Marks before and after modules: which tensors of an ONNX model a module reads and returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from quantlab.graph.model import Model, load_model
from quantlab.qat.export_example import Example
from quantlab.qat.mark_operator import exported_unmarked, mark
from quantlab.qat.onnx_export import ExportOptions

INPUT, OUTPUT = "in:", "out:"
"""What the name of a mark begins with; the path of the module follows."""


@dataclass(frozen=True, slots=True)
class MarkedModules:
    """A network's ONNX model, and where its modules begin and end in it.

    Attributes
    ----------
    model
        Without marks, not normalised; its nodes have names.
    ends
        Name of a mark → the tensors that it stood behind, one a call of the module.
    """

    model: Model
    ends: Mapping[str, tuple[str, ...]]


def marked_modules(
    network: nn.Module, example: Example, modules: Mapping[str, nn.Module], *, options: ExportOptions
) -> MarkedModules:
    """Export a network with marks around these modules, given by their paths; the network is left as it was.

    Marked are the first float tensor among a module's arguments, and its result where that is a float tensor.

    Raises
    ------
    InputError, MachineError, UsageError
        As `quantlab.qat.export`.
    """
    with _hooked(modules):
        found = exported_unmarked(network, example, options=options)
    return MarkedModules(load_model(found.proto), found.tensors)


@contextmanager
def _hooked(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    handles = []
    for path, module in modules.items():
        handles += [
            module.register_forward_pre_hook(_before(path), with_kwargs=True, prepend=True),
            module.register_forward_hook(_after(path)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(path: str) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for place, value in enumerate(args):
            if _is_float(value):
                return (*args[:place], mark(value, INPUT + path), *args[place + 1 :]), kwargs
        for name, value in kwargs.items():
            if _is_float(value):
                return args, kwargs | {name: mark(value, INPUT + path)}
        return None

    return hook


def _after(path: str) -> Any:
    def hook(_module: nn.Module, _args: Any, found: Any) -> Any:
        return mark(found, OUTPUT + path) if _is_float(found) else None

    return hook


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
