"""Ranges set by hand, by tensor name: what a person decided after looking, kept apart from what methods choose."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantlab.calibration.ranges import Range
from quantlab.calibration.rules import Fixed, Rule
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError
from quantlab.numerics.markup import card, frame_table

if TYPE_CHECKING:
    import pandas as pd

BY_HAND = "set by hand"


@dataclass(frozen=True, slots=True)
class Override:
    """The tensors whose name is `pattern`, or matches it as a shell pattern, cover this range, for this reason."""

    pattern: str
    range: Range
    reason: str = BY_HAND

    def __post_init__(self) -> None:
        if not self.pattern:
            raise InputError("An override needs the name of a tensor.")

    def matches(self, tensor: str) -> bool:
        """Tell whether it applies to a tensor."""
        return self._rule.matches(tensor)

    def _repr_html_(self) -> str:
        return card(
            "Override",
            {"covers": f"[{self.range.low:.6g}, {self.range.high:.6g}]", "reason": self.reason},
            name=self.pattern,
        )

    @property
    def _rule(self) -> Rule:
        return Rule(self.pattern, method=Fixed(self.range.low, self.range.high))


@dataclass(frozen=True, slots=True)
class Overrides:
    """Overrides in order: of several that match a tensor the first one wins.

    Raises
    ------
    InputError
        When two have the same pattern.
    """

    entries: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        patterns = [entry.pattern for entry in self.entries]
        twice = next((pattern for pattern in patterns if patterns.count(pattern) > 1), None)
        if twice is not None:
            raise InputError(f"«{twice}» is overridden twice: keep one of the ranges.")

    def having(self, entry: Override) -> "Overrides":
        """Return these with one more, or with it in the place of that of the same pattern."""
        if any(one.pattern == entry.pattern for one in self.entries):
            return Overrides(tuple(entry if one.pattern == entry.pattern else one for one in self.entries))
        return Overrides((*self.entries, entry))

    def without(self, pattern: str) -> "Overrides":
        """Return these without that of the pattern, if there is one."""
        return Overrides(tuple(entry for entry in self.entries if entry.pattern != pattern))

    def of(self, tensor: str) -> Override | None:
        """Return the one that a tensor gets; None if none matches."""
        return next((entry for entry in self.entries if entry.matches(tensor)), None)

    def rules(self, tensors: Iterable[str]) -> tuple[Rule, ...]:
        """Return them as `calibrate` takes rules.

        Raises
        ------
        InputError
            When one matches none of the tensors.
        """
        names = tuple(tensors)
        for entry in self.entries:
            if not any(entry.matches(name) for name in names):
                raise InputError(f"The override of «{entry.pattern}» matches none of the {len(names)} tensors.")
        return tuple(entry._rule for entry in self.entries)

    def applied(self, table: ScaleTable) -> ScaleTable:
        """Return a table with these ranges.

        Raises
        ------
        InputError
            When one matches no row.
        """
        for entry in reversed(self.entries):  # so that the first one has the last word
            table = table.override(entry.pattern, entry.range, reason=entry.reason)
        return table

    def frame(self) -> "pd.DataFrame":
        """Return one line an override; `low` and `high` in the tensor's unit."""
        import pandas as pd

        lines = [(entry.pattern, entry.range.low, entry.range.high, entry.reason) for entry in self.entries]
        return pd.DataFrame(lines, columns=pd.Index(["tensor", "low", "high", "reason"]))

    def _repr_html_(self) -> str:
        return card("Overrides", {"entries": len(self.entries)}, more=frame_table(self.frame()))
