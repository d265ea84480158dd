"""One tensor of the report, as values: its ranges, what INT8 costs it, and a histogram small enough to embed."""

from dataclasses import dataclass

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Role, Shape


@dataclass(frozen=True, slots=True)
class Sketch:
    """A histogram of |x| small enough to embed.

    Attributes
    ----------
    counts
        At most 160 equal bins over [0, stop]; exact zeros are left out where `zeros` is known.
    stop
        Upper edge of the last bin, in the tensor's unit.
    zeros
        Exact zeros; None where the grid does not tell.
    total
        All finite values.
    """

    counts: tuple[int, ...]
    stop: float
    zeros: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """The magnitude that a method lets a tensor's integers reach, and what that costs as the histogram tells it."""

    method: str
    amax: float
    clipped: float | None
    expected_db: float | None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One quantized tensor under the chosen method.

    Attributes
    ----------
    position
        Place in graph order, from 1.
    method
        The method of its range, as the table has it.
    scale
        The largest, where there is one a channel.
    clipped
        Share of values, 0 … 1.
    expected_db, own_db, accumulated_db
        SQNR: foretold by the histogram; measured of DQ(Q(x)); measured of x in the INT8 graph. None: not known.
    thresholds
        One a method that has the tensor.
    sketch
        None where no histogram was kept.
    """

    position: int
    name: str
    shape: Shape | None
    role: Role
    dtype: str
    method: str
    scale: float
    channels: int
    observed: Range | None
    chosen: Range | None
    clipped: float | None
    expected_db: float | None
    own_db: float | None = None
    accumulated_db: float | None = None
    thresholds: tuple[Threshold, ...] = ()
    sketch: Sketch | None = None


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation that both graphs have, quantized or inside a kernel.

    Attributes
    ----------
    position
        Place in graph order, from 1, among all of them.
    quantized
        Whether it is stored as INT8.
    own_db, accumulated_db
        As in `TensorRow`.
    row
        Its place in the table of quantized tensors; None where it has none.
    """

    position: int
    name: str
    quantized: bool
    own_db: float | None
    accumulated_db: float | None
    row: int | None = None


def row_db(row: TensorRow) -> float | None:
    """Return a tensor's own SQNR in dB, else the expected one."""
    return row.own_db if row.own_db is not None else row.expected_db
