"""The range of each channel of activations: which are dead, and how far apart the others lie."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Self

from quantlab.collector.batching import full_batches, whole_batches
from quantlab.collector.collect import DEFAULT_BUDGET
from quantlab.collector.sizing import measure
from quantlab.data.batch import Batch
from quantlab.data.stream import as_dataset
from quantlab.engines.cuda.device_array import as_array, on_host
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F32, AnyArray, Tensors
from quantlab.numerics.markup import card

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("tensor", "channels", "dead", "constant", "quietest", "median", "loudest", "spread")


@dataclass(frozen=True, slots=True, eq=False)
class ChannelRanges:
    """Smallest and largest value of each channel of one tensor; a value that merges exactly.

    Attributes
    ----------
    low, high
        float32[channels], in the tensor's unit.
    """

    low: F32
    high: F32

    @classmethod
    def of(cls, values: AnyArray, axis: int = 1) -> Self:
        """Return the ranges of one batch, whose channels lie along `axis`.

        Raises
        ------
        InputError
            When there is no such axis, no value, or NaN or infinity among them.
        """
        if not -values.ndim <= axis < values.ndim:
            raise InputError(f"A tensor of shape {list(values.shape)} has no axis {axis} for its channels.")
        others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
        if values.size == 0:
            raise InputError(f"A tensor of shape {list(values.shape)} has no values, and no ranges.")
        low, high = values.min(axis=others).astype(np.float32), values.max(axis=others).astype(np.float32)
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise InputError("It holds NaN or infinity: leave the sample that makes it out.")
        return cls(low, high)

    def merge(self, other: "ChannelRanges") -> "ChannelRanges":
        """Return the ranges over both sets of samples.

        Raises
        ------
        InputError
            When they have different numbers of channels.
        """
        if self.low.shape != other.low.shape:
            raise InputError(f"Tensors of {self.low.size} and {other.low.size} channels have no ranges in common.")
        return ChannelRanges(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def _repr_html_(self) -> str:
        facts = {
            "channels": self.low.size,
            "dead": len(self.dead),
            "constant": len(self.constant),
            "spread": self.spread,
        }
        return card("ChannelRanges", facts)

    @property
    def amax(self) -> F32:
        """Largest magnitude of each channel, float32[channels]."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def dead(self) -> tuple[int, ...]:
        """The channels that never held anything but 0."""
        return tuple(np.flatnonzero(self.amax == 0).tolist())

    @property
    def constant(self) -> tuple[int, ...]:
        """The channels that always held one value, the dead ones among them."""
        return tuple(np.flatnonzero(self.low == self.high).tolist())

    @property
    def spread(self) -> float:
        """The loudest channel's amax over the quietest living one's, ≥ 1; NaN where all are dead.

        One scale for all channels gives the quietest 255 / spread levels at most.
        """
        living = self.amax[self.amax > 0].astype(np.float64)
        return float(living.max() / living.min()) if living.size else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class ChannelSet(Mapping[str, ChannelRanges]):
    """The channels' ranges of every tensor, in the order of the engine's outputs.

    Attributes
    ----------
    ranges
        By tensor name; tensors without such an axis are left out.
    samples
        How many were seen.
    """

    ranges: Mapping[str, ChannelRanges]
    samples: int

    def __getitem__(self, tensor: str) -> ChannelRanges:
        return self.ranges[tensor]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor: numbers of channels; amax of the quietest, middle and loudest in the tensor's unit."""
        import pandas as pd

        return pd.DataFrame([_line(name, found) for name, found in self.items()], columns=pd.Index(_COLUMNS))

    def _repr_html_(self) -> str:
        table = self.frame().to_html(escape=True, index=False, max_rows=40)
        return f"<p>Channels over {self.samples:,} samples</p>{table}"


def collect_channels(engine: Engine, batches: Iterable[Tensors], *, axis: int = 1) -> ChannelSet:
    """Return the range of each channel of each of the engine's float outputs over all batches.

    Parameters
    ----------
    engine
        Runs the FP32 network with the wanted tensors as outputs, as for `collect`.
    batches
        A data set, or any iterable of {input name: array}.
    axis
        Of the channels, for every tensor: 1 for images [N, C, H, W], −1 for token embeddings. Tensors
        without such an axis beside the batch's are left out.

    Raises
    ------
    UsageError
        When the channels are said to lie along the batch's axis, or the engine is none.
    InputError
        For NaN or infinity, batches that do not fit the model, or no data at all.
    """
    if not hasattr(engine, "outputs"):
        raise UsageError(f"collect_channels needs an engine, for instance ql.engines.ort(…), not {engine!r:.60}.")
    if axis == 0:
        raise UsageError("Axis 0 counts the samples of a batch, so channels cannot lie along it.")
    # Maxima of rows do not depend on company, but a runtime's rounding does: batches are cut as `collect` cuts them.
    rows = (batch.bind(engine.inputs) if isinstance(batch, Batch) else batch for batch in as_dataset(batches))
    first = next(rows, None)
    if first is None:
        raise InputError("There is nothing to look at: the data hold no sample.")
    sizing = measure(engine, tuple(engine.outputs), first, DEFAULT_BUDGET)
    every = _with_first(first, rows)
    found, seen = dict[str, ChannelRanges](), 0
    for batch in whole_batches(every) if sizing.whole else full_batches(every, sizing.batch):
        outputs = {name: on_host(batch.kept(as_array(value))) for name, value in engine.run(batch.inputs).items()}
        for name, values in outputs.items():
            if values.dtype.kind == "f" and -values.ndim <= axis < values.ndim and axis % values.ndim:
                new = _ranges(name, values, axis, batch.where)
                found[name] = found[name].merge(new) if name in found else new
        seen += batch.used or 1
    return ChannelSet({name: found[name] for name in engine.outputs if name in found}, seen)


def _with_first(first: Tensors, rest: Iterable[Tensors]) -> Iterator[Tensors]:
    yield first
    yield from rest


def _ranges(tensor: str, values: AnyArray, axis: int, where: str) -> ChannelRanges:
    try:
        return ChannelRanges.of(values, axis)
    except InputError as error:
        raise InputError(f"Tensor «{tensor}», {where}: {error}") from error


def _line(tensor: str, found: ChannelRanges) -> tuple[object, ...]:
    amax = found.amax
    sizes = float(amax.min()), float(np.median(amax)), float(amax.max())
    return (tensor, amax.size, len(found.dead), len(found.constant), *sizes, found.spread)
