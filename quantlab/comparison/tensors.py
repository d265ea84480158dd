"""Errors of inner tensors: what a tensor's own quantization costs, and what has come together by then."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.exact_sums import ExactErrorSums
from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.comparison.sample_sums import blocks
from quantlab.data.batch import Batch, checked_batch_size
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.numerics.error_sums import ErrorSums


@dataclass(frozen=True, slots=True)
class TensorError:
    """How far one tensor of the INT8 network is from FP32's.

    Attributes
    ----------
    tensor
        The name in the user's model.
    accumulated
        The tensor in the INT8 graph against FP32's: with the noise of everything before it, and without its own where the
        graph has yet to quantize it (its Q and DQ come after it, as `x_quantized` and `x_dequantized`).
    own
        DQ(Q(x)) of FP32's x against x; None without a scale.
    left_out
        Samples with NaN or infinity, which are in neither.
    position
        The tensor's place in the float graph's own order, from 0; None if not known.
    quantized
        Whether the INT8 graph quantizes the tensor; False for one within a fused operator, or one that stays float.
        None if not known.
    """

    tensor: str
    accumulated: ErrorSums
    own: ErrorSums | None = None
    left_out: int = 0
    position: int | None = None
    quantized: bool | None = None

    @property
    def sqnr_db(self) -> float:
        """The accumulated signal-to-noise ratio, in dB."""
        return self.accumulated.sqnr_db

    @property
    def cosine(self) -> float:
        """The accumulated cosine, −1 … 1."""
        return self.accumulated.cosine

    @property
    def max_error(self) -> float:
        """The largest accumulated error, in the tensor's unit."""
        return self.accumulated.largest

    @property
    def own_sqnr_db(self) -> float | None:
        """The signal-to-noise ratio of DQ(Q(x)), in dB."""
        return self.own.sqnr_db if self.own else None


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor's place in the float graph's own order, from 0, and whether the INT8 graph quantizes it."""

    position: int
    quantized: bool


@dataclass(frozen=True, slots=True)
class TensorSums:
    """The sums behind a `TensorError`, over any samples."""

    accumulated: ExactErrorSums
    own: ExactErrorSums | None = None

    @classmethod
    def of(
        cls, tensor: str, exact: AnyArray, got: AnyArray, *, samples: int, params: QuantParams | None = None
    ) -> "TensorSums":
        """Return the sums over one batch.

        Raises
        ------
        InputError
            When the shapes differ, or the scales do not fit the tensor's channels.
        """
        if exact.shape != got.shape:
            raise InputError(f"Tensor «{tensor}» is {list(exact.shape)} in FP32 and {list(got.shape)} in INT8.")
        accumulated = ExactErrorSums.of(exact, got, samples)
        return cls(accumulated, None if params is None else _own(tensor, exact, params, samples))

    def merge(self, other: "TensorSums") -> "TensorSums":
        """Return the sums over both sets of samples."""
        own = self.own.merge(other.own) if self.own and other.own else None
        return TensorSums(self.accumulated.merge(other.accumulated), own)

    def error(self, tensor: str, place: TensorPlace | None = None) -> TensorError:
        """Return the sums rounded to floats, and where the tensor stands."""
        own = self.own.total if self.own else None
        told = (None, None) if place is None else (place.position, place.quantized)
        return TensorError(tensor, self.accumulated.total, own, self.accumulated.left_out, *told)


@dataclass(frozen=True, slots=True, eq=False)
class TensorProbe:
    """Two engines that show inner tensors; they run beside those that are scored, on the same batches.

    They are engines of their own, since a runtime fuses less when it must show inner tensors, and then scores and
    times differ.

    Attributes
    ----------
    fp32, int8
        Engines over the same two networks with inner tensors as outputs.
    tensors
        Which to compare, by their names in the user's model; None takes all that both engines show.
    table
        Scales for `own`, which tensors that INT8 does not quantize have not; None leaves it out.
    batch
        Samples that the engines get at a time, to save memory; None is as many as the data's batches have. Engines
        of a fixed batch size get that, the last batch filled up.
    places
        Where tensors stand, outputs of the network among them, as far as it is known.
    """

    fp32: Engine
    int8: Engine
    tensors: tuple[str, ...] | None = None
    table: ScaleTable | None = None
    batch: int | None = None
    places: Mapping[str, TensorPlace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch is not None:
            checked_batch_size(self.batch)
        shown = self.fp32.outputs, self.int8.outputs
        for side, names in zip(("FP32", "INT8"), shown, strict=True):
            missing = [tensor for tensor in self.tensors or () if tensor not in names]
            if missing:
                raise InputError(
                    f"The {side} engine does not show {_listed(missing)}: open it with these tensors exposed."
                )
        if not set(shown[0]) & set(shown[1]):
            raise InputError("The two engines of the probe show no tensor of the same name: expose the same ones.")

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors compared, in the FP32 engine's order where none were named."""
        if self.tensors is not None:
            return self.tensors
        return tuple(name for name in self.fp32.outputs if name in self.int8.outputs)

    def measure(self, batch: Batch) -> dict[str, TensorSums]:
        """Return the sums over one batch; one engine batch is in memory at a time.

        Raises
        ------
        InputError
            When the engines refuse the batch, or a tensor's shape or channels do not fit.
        """
        found: dict[str, TensorSums] = {}
        for part, _ in cut([(batch, None)], fixed_rows(self.fp32, self.int8) or self.batch):
            new = self._sums(run_filled(self.fp32, part), run_filled(self.int8, part), part.samples)
            found = {name: found[name].merge(sums) if name in found else sums for name, sums in new.items()}
        return found

    def _sums(self, exact: Tensors, got: Tensors, samples: int) -> dict[str, TensorSums]:
        return {
            name: TensorSums.of(name, exact[name], got[name], samples=samples, params=self._params(name))
            for name in self.names
        }

    def _params(self, tensor: str) -> QuantParams | None:
        place = self.places.get(tensor)
        if self.table is None or tensor not in self.table or (place is not None and not place.quantized):
            return None
        return self.table[tensor].params


def _own(tensor: str, values: AnyArray, params: QuantParams, samples: int) -> ExactErrorSums:
    axis, channels = params.axis, params.scale.size
    if axis is not None and (not 0 < axis < values.ndim or values.shape[axis] != channels):
        raise InputError(
            f"Tensor «{tensor}» is {list(values.shape)}, but its table has {channels} scales along axis {axis}: "
            "the table is of another model."
        )
    total = ExactErrorSums()
    for block, count in blocks(values, samples):  # quantizing needs several copies
        total = total.merge(ExactErrorSums.of(block, fake_quantize(block, params), count))
    return total


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"«{name}»" for name in names[:5]) + more
