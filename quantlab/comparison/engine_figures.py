"""Figures of engines that were measured elsewhere, on a GPU that this machine may not have."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import nan
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self, TypedDict

from quantlab.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd


class Check(TypedDict):
    """A figure that was asked for, what came out, the limit, and whether that was reached."""

    what: str
    value: float
    limit: float
    reached: bool


@dataclass(frozen=True, slots=True, eq=False)
class EngineFigures:
    """The tables of a lineup that was measured and committed, such as `reports/gpu/lite0.json`.

    Attributes
    ----------
    command, measured, device
        What measured them, on which day and GPU.
    versions
        Of quantlab, Python and TensorRT.
    tables
        By set of samples, the lines of `Lineup.rows`; what was not measured is None.
    checks
        The figures that were asked for.
    """

    command: str
    measured: str
    device: str
    versions: Mapping[str, str]
    tables: Mapping[str, tuple[Mapping[str, object], ...]]
    checks: tuple[Check, ...] = ()

    @classmethod
    def from_json(cls, value: str | bytes | Mapping[str, Any]) -> Self:
        """Read what `tests.gpu.summary` wrote, as text or as JSON values.

        Raises
        ------
        InputError
            When it is no JSON, or a field is missing or of another type.
        """
        try:
            found = _FILE.validate_json(value) if isinstance(value, (str, bytes)) else _FILE.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"These are no figures of engines{f': «{place}»' if place else ''}: {first['msg'][:1].lower()}{first['msg'][1:]}."
            ) from error
        if not all(found["tables"].values()):
            raise InputError("These figures of engines hold a table without lines.")
        tables = {kind: tuple(_with_infinities(row) for row in rows) for kind, rows in found["tables"].items()}
        return cls(
            found["command"], found["measured"], found["device"], found["versions"], tables, tuple(found["checks"])
        )

    def frame(self, samples: str = "eval") -> "pd.DataFrame":
        """Return one line an engine, as `Lineup.frame`: shares 0 … 1, drops in points, dB, milliseconds, bytes, watts.

        Raises
        ------
        UsageError
            For a set of samples that was not measured.
        """
        import pandas as pd

        if samples not in self.tables:
            raise UsageError(f"The sets of samples measured are {', '.join(self.tables)}, not «{samples}».")
        rows = self.tables[samples]
        return pd.DataFrame([{key: nan if cell is None else cell for key, cell in row.items()} for row in rows])

    def checks_frame(self) -> "pd.DataFrame":
        """Return one line a figure that was asked for: its value, the limit, and whether that was reached."""
        import pandas as pd

        return pd.DataFrame([dict(check) for check in self.checks], columns=pd.Index([*Check.__annotations__]))

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(self.device)}, {escape(self.versions.get('tensorrt', ''))}, {escape(self.measured)}</p>"]
        for kind in self.tables:
            table = self.frame(kind).dropna(axis="columns", how="all").to_html(escape=True, index=False)
            parts.append(f"<p>{escape(kind)}:</p>{table}")
        return "".join(parts)


class _File(TypedDict):
    command: str
    measured: str
    device: str
    versions: dict[str, str]
    tables: dict[str, list[dict[str, str | int | float | None]]]
    checks: list[Check]


_FILE = TypeAdapter(_File)


def _with_infinities(row: Mapping[str, object]) -> dict[str, object]:
    """Return a line with the SQNR of equal outputs, which JSON cannot hold, as a number."""
    return {key: float("inf") if key == "sqnr_db" and cell == "inf" else cell for key, cell in row.items()}
