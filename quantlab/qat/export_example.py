"""The example that a module is exported with: its arguments, their names, and how the outputs follow the batch."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree

from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray

Example = Tensor | AnyArray | tuple[Any, ...] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a module's forward is called with.

    Attributes
    ----------
    positional, named
        The tensors, by place and by name.
    names
        A name for each, first the positional ones.
    """

    positional: tuple[Tensor, ...]
    named: Mapping[str, Tensor]
    names: tuple[str, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor, in the order of `names`."""
        return (*self.positional, *self.named.values())

    @property
    def batch(self) -> int:
        """The size of the first tensor's first dimension; 0 where it has none."""
        first = self.tensors[0]
        return first.shape[0] if first.ndim else 0

    def is_batched(self, tensor: Tensor) -> bool:
        """Tell whether a tensor's first dimension is the batch: where it has the size of the first tensor's."""
        return tensor.ndim > 0 and tensor.shape[0] == self.batch

    def doubled(self) -> "Arguments":
        """Return the arguments with every sample twice."""

        def twice(tensor: Tensor) -> Tensor:
            return torch.cat([tensor, tensor]) if self.is_batched(tensor) else tensor

        named = {name: twice(tensor) for name, tensor in self.named.items()}
        return Arguments(tuple(map(twice, self.positional)), named, self.names)


def arguments_of(module: nn.Module, example: Example, names: Sequence[str] = ()) -> Arguments:
    """Return the arguments that an example stands for.

    Parameters
    ----------
    module
        Whose forward takes them.
    example
        A tensor, a tuple of tensors in the order of forward's parameters, or tensors by the parameters' names, as one of
        quantlab's batches is. Arrays are taken for tensors.
    names
        What the inputs shall be called; empty takes the parameters' names.

    Raises
    ------
    UsageError
        For an example of another kind, an empty one, or another number of names than of tensors.
    """
    named = {name: _tensor(value) for name, value in example.items()} if isinstance(example, Mapping) else {}
    positional: tuple[Any, ...] = ()
    if not isinstance(example, Mapping):
        positional = tuple(map(_tensor, example if isinstance(example, tuple | list) else (example,)))
    tensors = (*positional, *named.values())
    for value in tensors:
        if not isinstance(value, Tensor):
            raise UsageError(
                "The example is a tensor, a tuple of tensors, or tensors by the names of forward's parameters, not "
                f"{type(value).__name__}."
            )
    if not tensors:
        raise UsageError("The example holds no tensor; give one for every input of the module.")
    wanted = tuple(names) or (*parameter_names(module, len(positional)), *named)
    if len(wanted) != len(tensors) or len(set(wanted)) != len(wanted):
        raise UsageError(
            f"The example has {len(tensors)} inputs, and the names given are {list(wanted)}: one for each."
        )
    return Arguments(positional, named, wanted)


def _tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def parameter_names(module: nn.Module, count: int) -> tuple[str, ...]:
    """Return names for so many positional arguments: those of forward's parameters, where it tells them."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = [*inspect.signature(module.forward).parameters.values()]
    except (TypeError, ValueError):  # a forward that is not written in Python
        parameters = []
    known = [parameter.name for parameter in parameters if parameter.kind in kinds]
    if len(known) >= count:
        return tuple(known[:count])
    return ("input",) if count == 1 else tuple(f"input_{place}" for place in range(count))


def outputs_of(module: nn.Module, arguments: Arguments) -> dict[str, Tensor]:
    """Run a module, and return its outputs by name: keys of a dict or fields, «output», or «output_0» and so on.

    Raises
    ------
    InputError
        When the module fails on the example, or returns no tensor.
    """
    try:
        with torch.no_grad():
            found = module(*arguments.positional, **arguments.named)
    except Exception as error:  # whatever the user's own module raises
        raise InputError(
            f"The module {type(module).__name__} fails on the example itself ({first_sentence(error)}): give an example "
            "that its forward takes."
        ) from error
    leaves = [(path, leaf) for path, leaf in _pytree.tree_flatten_with_path(found)[0] if isinstance(leaf, Tensor)]
    if not leaves:
        raise InputError(f"The module {type(module).__name__} returns no tensor, so there is nothing to export.")
    if len(leaves) == 1 and not leaves[0][0]:
        return {"output": leaves[0][1]}
    return {_output_name(path, place): leaf for place, (path, leaf) in enumerate(leaves)}


def flat(found: Any) -> tuple[Tensor, ...] | Tensor:
    """Return the tensors of an output in the order of `outputs_of`; a single tensor as it is."""
    if isinstance(found, Tensor):
        return found
    return tuple(leaf for leaf in _pytree.tree_flatten(found)[0] if isinstance(leaf, Tensor))


def _output_name(path: Sequence[Any], place: int) -> str:
    keys = [getattr(key, "key", getattr(key, "name", None)) for key in path]
    named = [key for key in keys if isinstance(key, str)]
    return "_".join(named) if named and len(named) == len(keys) else f"output_{place}"


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of what began an error: torch wraps errors in errors, with advice for its developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.partition(". ")[0].rstrip(".:")
