"""The scale table: the product's own format, of which every cache and Q/DQ model is a rendering."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import Provenance
from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import Affine, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.numerics.affine import LIMITS, IntegerType, QuantParams
from quantlab.numerics.markup import card, frame_table

if TYPE_CHECKING:
    import pandas as pd

Role: TypeAlias = Literal["activation", "weight", "unknown"]
ROLES = ("activation", "weight", "unknown")
_MIDDLE = {"int8": 0, "uint8": 128}

Shape: TypeAlias = tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """One tensor's row.

    Attributes
    ----------
    tensor
        The name in the user's own model.
    scale
        Each exactly a float32, finite and > 0; one for the tensor, or one a channel along `axis`.
    zero_point
        As many, in the range of `dtype`.
    role
        unknown: a key of a calibration cache that the model does not have.
    scheme
        symmetric or affine.
    shape
        As far as known; a free dimension is a name or None.
    observed, chosen
        Smallest and largest value seen, and the range that the method chose; None where nobody recorded it.
    method
        The method with its parameters, or where the scale came from.
    clipped
        Share, 0 … 1, of the values seen that the range cuts off.
    sqnr_db
        Expected signal-to-noise ratio of DQ(Q(x)) on the values seen, in dB.
    """

    tensor: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...] = (0,)
    dtype: IntegerType = "int8"
    scheme: Literal["symmetric", "affine"] = "symmetric"
    axis: int | None = None
    role: Role = "activation"
    shape: Shape | None = None
    observed: Range | None = None
    chosen: Range | None = None
    method: str = ""
    clipped: float | None = None
    sqnr_db: float | None = None

    def __post_init__(self) -> None:
        where = f"Tensor «{self.tensor}»"
        if not self.tensor:
            raise InputError("A row of the scale table has no tensor name.")
        if len(self.scale) != len(self.zero_point) or not self.scale or (self.axis is None and len(self.scale) != 1):
            raise InputError(
                f"{where} has {len(self.scale)} scales and {len(self.zero_point)} zero points; without an axis one of each is due."
            )
        for value in self.scale:
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{where} has the scale {value}; a scale must be finite and > 0.")
            if value > float(np.finfo(np.float32).max) or float(np.float32(value)) != value:
                raise InputError(f"{where} has the scale {value!r}, which is no float32.")
        if self.dtype not in LIMITS or self.scheme not in ("symmetric", "affine"):
            raise InputError(
                f"{where} has dtype «{self.dtype}» and scheme «{self.scheme}»; int8 or uint8, symmetric or affine are known."
            )
        if self.role not in ROLES:
            raise InputError(f"{where} has the role «{self.role}»; the known ones are {', '.join(ROLES)}.")
        low, high = LIMITS[self.dtype]
        if any(not low <= z <= high for z in self.zero_point):
            raise InputError(f"{where} has a zero point outside {self.dtype}'s [{low}, {high}]: {self.zero_point}.")
        if self.scheme == "symmetric" and set(self.zero_point) != {_MIDDLE[self.dtype]}:
            raise InputError(
                f"{where} is symmetric {self.dtype}, whose zero point is {_MIDDLE[self.dtype]}, not {self.zero_point}."
            )
        self._check_channels(where)

    def _check_channels(self, where: str) -> None:
        if self.axis is None or self.shape is None:
            return
        if not -len(self.shape) <= self.axis < len(self.shape):
            raise InputError(f"{where} of shape {list(self.shape)} has no axis {self.axis}.")
        channels = self.shape[self.axis]
        if isinstance(channels, int) and channels != len(self.scale):
            raise InputError(f"{where} has {len(self.scale)} scales for the {channels} channels of axis {self.axis}.")

    @classmethod
    def of(cls, tensor: str, params: QuantParams, **known: object) -> Self:
        """Return a row with these parameters; `known` are further fields by name."""
        return cls(
            tensor,
            tuple(np.atleast_1d(params.scale).astype(float).tolist()),
            tuple(np.atleast_1d(params.zero_point).tolist()),
            params.dtype,
            axis=params.axis,
            **known,  # type: ignore[arg-type]
        )

    @property
    def params(self) -> QuantParams:
        """Scale and zero point as arrays, shape () or [channels]."""
        scale, zero_point = np.array(self.scale, np.float32), np.array(self.zero_point, np.int64)
        if self.axis is None:
            scale, zero_point = scale[0, ...], zero_point[0, ...]
        return QuantParams(scale, zero_point, self.dtype, self.axis)

    @property
    def amax(self) -> float:
        """127 times the largest scale: the magnitude that a symmetric byte reaches."""
        return 127 * max(self.scale)

    def _repr_html_(self) -> str:
        channels = f"{len(self.scale)} channels along axis {self.axis}" if self.axis is not None else ""
        facts = {
            "scale": max(self.scale), "channels": channels, "dtype": f"{self.dtype}, {self.scheme}", "method": self.method,
            "covers": f"[{self.chosen.low:.4g}, {self.chosen.high:.4g}]" if self.chosen else None,
            "observed": f"[{self.observed.low:.4g}, {self.observed.high:.4g}]" if self.observed else None,
            "clipped": None if self.clipped is None else f"{100 * self.clipped:.3g} %",
            "expected SQNR": None if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB",
        }  # fmt: skip
        return card("Scale", facts, name=self.tensor)

    @property
    def at_ceiling(self) -> bool | None:
        """Whether the range chosen reaches all that was observed; None where it is not known."""
        if self.observed is None or self.chosen is None:
            return None
        return self.chosen.amax >= self.observed.amax


@dataclass(frozen=True, slots=True)
class ScaleTable(Mapping[str, Scale]):
    """Rows by tensor name, in the order of the graph or of the cache they were read from.

    Attributes
    ----------
    rows
        No two with the same tensor.
    provenance
        Model, data and versions behind the table; None if it was read from a file that does not tell.
    cache_header
        First line of the calibration cache that the table was read from.
    """

    rows: tuple[Scale, ...]
    provenance: Provenance | None = None
    cache_header: str | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for row in self.rows:
            if row.tensor in seen:
                raise InputError(f"Tensor «{row.tensor}» has two rows in the scale table.")
            seen.add(row.tensor)

    def __getitem__(self, tensor: str) -> Scale:
        for row in self.rows:
            if row.tensor == tensor:
                return row
        raise KeyError(tensor)

    def __iter__(self) -> Iterator[str]:
        return (row.tensor for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, tensor: object) -> bool:
        return any(row.tensor == tensor for row in self.rows)

    def with_rows(self, rows: Iterable[Scale]) -> "ScaleTable":
        """Return a table in which these rows replace those of the same tensor, or follow at the end."""
        given = tuple(rows)
        new = {row.tensor: row for row in ScaleTable(given).rows}  # refuses a tensor given twice
        kept = tuple(new.pop(row.tensor, row) for row in self.rows)
        return replace(self, rows=kept + tuple(new.values()))

    def without(self, *patterns: str) -> "ScaleTable":
        """Return a table without the tensors that match a shell pattern; they will stay float.

        Raises
        ------
        InputError
            When a pattern matches nothing.
        """
        gone = {row.tensor for pattern in patterns for row in self._matching(pattern)}
        return replace(self, rows=tuple(row for row in self.rows if row.tensor not in gone))

    def override(self, pattern: str, chosen: Range, *, reason: str = "set by hand") -> "ScaleTable":
        """Return a table in which the activations that match a shell pattern cover this range.

        Raises
        ------
        InputError
            When the pattern matches nothing.
        """
        if not isinstance(chosen, Range):
            raise UsageError(f"An override is a Range(low, high), not {chosen!r:.60}.")
        rows = []
        for row in self._matching(pattern):
            if row.role == "weight":
                continue
            scheme = Symmetric(row.dtype) if row.scheme == "symmetric" else Affine(row.dtype)
            known = {"role": row.role, "shape": row.shape, "observed": row.observed, "scheme": row.scheme}
            rows.append(Scale.of(row.tensor, scheme.params(chosen), chosen=chosen, method=reason, **known))
        return self.with_rows(rows)

    def _matching(self, pattern: str) -> list[Scale]:
        rows = [row for row in self.rows if fnmatchcase(row.tensor, pattern) or row.tensor == pattern]
        if not rows:
            raise InputError(f"No tensor of the scale table matches «{pattern}»; it has {_some(self)}.")
        return rows

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor: ranges and scale in the tensor's unit, `clipped` a share 0 … 1, `sqnr_db` in dB.

        A tensor with a scale a channel shows the largest; `channels` tells how many there are.
        """
        import pandas as pd

        return pd.DataFrame([_line(row) for row in self.rows], columns=pd.Index(_COLUMNS))

    def _repr_html_(self) -> str:
        return card("ScaleTable", {"rows": len(self)}, more=frame_table(self.frame()))


_COLUMNS = [
    "tensor", "role", "dtype", "scheme", "channels", "scale", "zero_point", "observed_low", "observed_high",
    "low", "high", "clipped", "sqnr_db", "method",
]  # fmt: skip


def _line(row: Scale) -> tuple[object, ...]:
    observed = (row.observed.low, row.observed.high) if row.observed else (None, None)
    chosen = (row.chosen.low, row.chosen.high) if row.chosen else (None, None)
    head = (row.tensor, row.role, row.dtype, row.scheme, len(row.scale), max(row.scale), row.zero_point[0])
    return (*head, *observed, *chosen, row.clipped, row.sqnr_db, row.method)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(f"«{name}»" for name in listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
