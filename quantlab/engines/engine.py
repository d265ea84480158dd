"""What every engine promises: named inputs, named outputs, one batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.errors import InputError
from quantlab.graph.derive import Derivation
from quantlab.numerics.arrays import AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of an engine's input or output; a free dimension is a name or None."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str | None, ...]

    def resolved(self, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
        """Return the shape with every free dimension filled in by name; None where one is not known."""
        known = tuple(sizes.get(d) if isinstance(d, str) else d for d in self.shape)
        return None if None in known else tuple(int(d) for d in known if d is not None)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


class Engine(Protocol):
    """Runs a network over one batch; a context manager.

    `run` takes every input by name and returns every output by name. The returned arrays belong to the engine and are
    valid until its next `run`. `backend` names the runtime, its version and what decides its arithmetic; every
    accuracy is reported with it.
    """

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The network's inputs, in its own order."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What `run` returns."""
        ...

    @property
    def derivations(self) -> Mapping[str, Derivation]:
        """Outputs that follow exactly from other tensors of the network."""
        ...

    @property
    def chosen_on(self) -> tuple[DataIdentity, ...]:
        """The sets of samples that had a say in the model's scales, as far as it tells."""
        ...

    @property
    def model_digest(self) -> str:
        """Digest of the user's model, by content."""
        ...

    @property
    def model_name(self) -> str:
        """The model's file name, for people."""
        ...

    @property
    def backend(self) -> str:
        """Runtime, version and instruction set, for instance «onnxruntime 1.31.1 CPU avx512_vnni»."""
        ...

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Run one batch."""
        ...

    def restrict(self, outputs: tuple[str, ...]) -> "Engine":
        """Return an engine that computes these of its outputs only, to the same bits."""
        ...

    def exposing(self, outputs: tuple[str, ...]) -> "Engine":
        """Open the network again with these of its outputs and no others, which the runtime may then fuse better."""
        ...

    def close(self) -> None:
        """Free what the runtime holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Opening(Protocol):
    """What opens an engine again, in another process or on another machine; an engine gives its own as `opening`."""

    def open(self, *, threads: int | None = None) -> Engine:
        """Open it; `threads` inside an operator, where the runtime has such: None as it was."""
        ...


def free_sizes(inputs: Mapping[str, TensorSpec], batch: Tensors) -> dict[str, int]:
    """Return what this batch makes of the inputs' free dimensions, by name.

    Raises
    ------
    InputError
        When an array has another number of dimensions than its input.
    """
    sizes: dict[str, int] = {}
    for name, spec in inputs.items():
        shape = batch[name].shape
        if len(shape) != len(spec.shape):
            raise InputError(f"Input «{name}» has shape {list(shape)}, but the model wants {_listed(inputs)}.")
        sizes |= {want: int(got) for want, got in zip(spec.shape, shape, strict=True) if isinstance(want, str)}
    return sizes


def check_batch(inputs: Mapping[str, TensorSpec], batch: Tensors) -> dict[str, AnyArray]:
    """Return the batch as the engine wants it.

    Raises
    ------
    InputError
        When a name, an element type or a shape does not fit; the expected inputs are listed.
    """
    expected = _listed(inputs)
    unknown = sorted(set(batch) - set(inputs))
    missing = sorted(set(inputs) - set(batch))
    if unknown or missing:
        parts = [f"unknown {unknown}" if unknown else "", f"missing {missing}" if missing else ""]
        raise InputError(
            f"The batch's inputs do not fit the model ({', '.join(filter(None, parts))}); it wants {expected}."
        )
    return {name: _fitting(spec, batch[name], expected) for name, spec in inputs.items()}


def _listed(inputs: Mapping[str, TensorSpec]) -> str:
    return "; ".join(str(spec) for spec in inputs.values())


def _fitting(spec: TensorSpec, values: AnyArray, expected: str) -> AnyArray:
    array = np.asarray(values)
    if array.dtype != spec.dtype:
        raise InputError(f"Input «{spec.name}» got {array.dtype}, but the model wants {expected}.")
    fits = array.ndim == len(spec.shape) and all(
        not isinstance(want, int) or want == got for want, got in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"Input «{spec.name}» has shape {list(array.shape)}, but the model wants {expected}.")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)  # which makes a scalar one-dimensional
