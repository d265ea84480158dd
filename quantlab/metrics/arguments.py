"""What stands behind a metric's name: «name:value,key=value», read once and refused in sentences."""

from dataclasses import dataclass, field
from typing import Any

from quantlab.errors import UsageError


@dataclass(slots=True)
class Arguments:
    """The parameters of one metric, taken one by one; mutable, and gone when the metric is made.

    Attributes
    ----------
    text
        As it was written, for messages.
    first
        The value without a key; empty if there is none.
    given
        The others by key.
    """

    text: str
    first: str = ""
    given: dict[str, str] = field(default_factory=dict)
    _known: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> tuple[str, "Arguments"]:
        """Return the name, and what follows it.

        Raises
        ------
        UsageError
            When a key is given twice, or a second value has none.
        """
        name, _, rest = text.strip().partition(":")
        found = cls(text)
        for place, part in enumerate(rest.split(",") if rest else ()):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals and place == 0:
                found.first = key
            elif not equals or not value or key in found.given:
                raise UsageError(f"Metric «{text}»: «{part}» is no key=value, or its key is there twice.")
            else:
                found.given[key] = value
        return name.strip(), found

    def text_of(self, key: str, default: str | None = None) -> str | None:
        """Return a parameter, or the default."""
        self._known.append(key)
        return self.given.pop(key, default)

    def whole(self, key: str, default: int) -> int:
        """Return a parameter as a whole number from 0 on."""
        return int(self._number(key, str(default), whole=True))

    def number(self, key: str, default: float) -> float:
        """Return a parameter as a number."""
        return self._number(key, str(default), whole=False)

    def finish(self, metric: Any, *, first: bool = False) -> Any:
        """Return the metric, if everything that was given has been taken.

        Parameters
        ----------
        first
            Whether the value without a key was for this metric.

        Raises
        ------
        UsageError
            Naming what is left, and what there is.
        """
        left = [*([] if first or not self.first else [self.first]), *self.given]
        if left:
            raise UsageError(
                f"Metric «{self.text}» has no parameter «{left[0]}»; it takes {', '.join(self._known) or 'none'}."
            )
        return metric

    def _number(self, key: str, default: str, *, whole: bool) -> float:
        value = self.text_of(key, default) or ""
        try:
            found = float(value) if not whole else int(value) if value.isdecimal() else float("nan")
        except ValueError:
            found = float("nan")
        if not 0 <= found <= 1e9:
            raise UsageError(
                f"Metric «{self.text}»: {key} is «{value}», no {'whole ' if whole else ''}number from 0 on."
            )
        return found
