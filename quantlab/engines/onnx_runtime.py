"""ONNX Runtime on the CPU: the engine that needs nothing but the base installation."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.engines.cpu import instruction_set
from quantlab.engines.engine import TensorSpec, check_batch, free_sizes
from quantlab.engines.ort_session import OrtOptions, open_session, refusal
from quantlab.errors import InputError
from quantlab.graph.derive import Derivation
from quantlab.graph.stored_tensors import is_heavy
from quantlab.numerics.arrays import AnyArray, Tensors

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(uint32)": np.uint32,
    "tensor(int64)": np.int64,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, slots=True)
class Network:
    """The model that an engine runs, and what ties its tensors to the user's own model.

    Attributes
    ----------
    proto
        What runs, weights inside.
    digest, name
        Of the user's model.
    derivations
        Tensors whose values follow exactly from others'.
    chosen_on
        The sets of samples that had a say in its scales.
    """

    proto: onnx.ModelProto
    digest: str
    name: str
    derivations: Mapping[str, Derivation] = field(default_factory=dict)
    chosen_on: tuple[DataIdentity, ...] = ()


class OrtEngine:
    """A network in ONNX Runtime's CPU provider; outputs go to buffers that are reused while shapes stay the same.

    Parameters
    ----------
    network
        The model.
    outputs
        Names to return, in this order, inner tensors among them; None returns the graph's outputs.

    Raises
    ------
    InputError
        When ONNX Runtime cannot load the model, or an output is not in it.
    """

    def __init__(
        self, network: Network, *, outputs: tuple[str, ...] | None = None, options: OrtOptions | None = None
    ) -> None:
        self._network, self._options, self._shown = network, options or OrtOptions(), outputs
        # ONNX Runtime leaves the buffer of an input that is an output untouched: such a tensor is handed through here.
        given = {i.name for i in network.proto.graph.input}
        computed = tuple(name for name in outputs or () if name not in given)
        self._session = open_session(network.proto, computed, self._options)
        self.inputs = {i.name: _spec(i) for i in self._session.get_inputs()}
        every = self.inputs | {o.name: _spec(o) for o in self._session.get_outputs()}
        self.outputs = {name: every[name] for name in (outputs or [o.name for o in network.proto.graph.output])}
        self._computed = tuple(name for name in self.outputs if name not in self.inputs)
        self._buffers: dict[str, AnyArray] = {}
        self._shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def opening(self) -> "OrtOpening":
        """What opens this engine again, to the same bits, elsewhere."""
        network = replace(self._network, derivations=dict(self._network.derivations))  # which travels
        return OrtOpening(network, self._shown, tuple(self.outputs), self._options)

    @property
    def derivations(self) -> Mapping[str, Derivation]:
        """Outputs that follow exactly from other tensors of the network."""
        return self._network.derivations

    @property
    def model_digest(self) -> str:
        """Digest of the user's model, by content."""
        return self._network.digest

    @property
    def model_name(self) -> str:
        """The model's file name."""
        return self._network.name

    @property
    def chosen_on(self) -> tuple[DataIdentity, ...]:
        """The sets of samples that had a say in the model's scales, as far as it tells."""
        return self._network.chosen_on

    @property
    def backend(self) -> str:
        """Runtime, version and instruction set."""
        import onnxruntime

        mode = ("" if self._options.integer_kernels else " simulating") if self._options.optimize else " unoptimized"
        return f"onnxruntime {onnxruntime.__version__} CPU{mode} ({instruction_set()})"

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Run one batch; the arrays returned are overwritten by the next call.

        Raises
        ------
        InputError
            When the batch does not fit the inputs, or a node of the model fails on it.
        """
        feeds = check_batch(self.inputs, batch)
        shapes = tuple(value.shape for value in feeds.values())
        if shapes != self._shapes:
            self._buffers, self._shapes = self._allocated(feeds), shapes
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for name in self._computed:
            buffer = self._buffers.get(name)
            if buffer is None:
                binding.bind_output(name, "cpu")
            else:
                binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        if self._computed:
            self._call(binding)
        found = feeds | self._results(binding)
        return {name: found[name] for name in self.outputs}

    def _allocated(self, feeds: Tensors) -> dict[str, AnyArray]:
        """Return a buffer for each output whose shape the model tells; the others are ONNX Runtime's to allocate."""
        sizes = free_sizes(self.inputs, feeds)
        shapes = {name: self.outputs[name].resolved(sizes) for name in self._computed}
        # An empty array has no address to bind.
        return {n: np.empty(shape, self.outputs[n].dtype) for n, shape in shapes.items() if shape and 0 not in shape}

    def _results(self, binding: Any) -> dict[str, AnyArray]:
        if len(self._buffers) == len(self._computed):
            return self._buffers
        values = zip(self._computed, binding.get_outputs(), strict=True)
        return {name: self._buffers[name] if name in self._buffers else value.numpy() for name, value in values}

    def _call(self, binding: Any) -> None:
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise refusal("ONNX Runtime could not run the model", error) from error

    def restrict(self, outputs: tuple[str, ...]) -> "OrtEngine":
        """Return an engine that computes these of its outputs only.

        It shares the session: the graph that runs, and with it every rounding, is the same whatever part is asked for.

        Raises
        ------
        InputError
            For a name that is not among the outputs.
        """
        unknown = sorted(set(outputs) - set(self.outputs))
        if unknown:
            raise InputError(f"The engine has no output {unknown}; open it with these tensors exposed.")
        part = copy(self)
        part.outputs = {name: self.outputs[name] for name in outputs}
        part._computed = tuple(name for name in outputs if name not in self.inputs)
        part._buffers, part._shapes = {}, ()
        return part

    def exposing(self, outputs: tuple[str, ...]) -> "OrtEngine":
        """Open the network again with these of its outputs and no others, which the runtime may then fuse better.

        One of 2 GB or more shares the session instead: a second would take its weights in memory again.
        """
        if is_heavy(self._network.proto):
            return self.restrict(outputs)
        return OrtEngine(self._network, outputs=outputs, options=self._options)

    def close(self) -> None:
        """Free the session and its buffers."""
        self._buffers, self._shapes = {}, ()
        self.__dict__.pop("_session", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class OrtOpening:
    """An engine's network and options: the session's own outputs, and which of them it shows."""

    network: Network
    shown: tuple[str, ...] | None
    outputs: tuple[str, ...]
    options: OrtOptions

    def __post_init__(self) -> None:
        if is_heavy(self.network.proto):
            raise InputError(
                f"«{self.network.name}» has 2 GB or more, which cannot be sent to workers: run it in one process."
            )

    def open(self, *, threads: int | None = None) -> OrtEngine:
        """Open the engine; the number of threads changes no bit."""
        options = self.options if threads is None else replace(self.options, threads=threads)
        engine = OrtEngine(self.network, outputs=self.shown, options=options)
        return engine if tuple(engine.outputs) == self.outputs else engine.restrict(self.outputs)


def _spec(argument: Any) -> TensorSpec:
    if argument.type not in _DTYPES:
        raise InputError(f"Tensor «{argument.name}» has type {argument.type}, which no batch of arrays can hold.")
    return TensorSpec(argument.name, np.dtype(_DTYPES[argument.type]), tuple(argument.shape))
