"""Numbers and names as people read them: the page's filters."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Shape

NOTHING = "–"
_MINUS = "−"
_SEPARATED = re.compile("(?<=[/_.:])(?=.)")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """Return a stranger's text with control, format and surrogate characters spelled out as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(c) if unicodedata.category(c) in _HIDDEN and c not in "\n\t" else c for c in text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def breakable(text: str) -> Markup:
    """Return a tensor's name, escaped, that a line may break after its separators."""
    return Markup("<wbr>").join(visible(part) for part in _SEPARATED.split(text))


def class_name(number: int | None, names: Sequence[str] = ()) -> str:
    """Return what to call a class: «3 trouser», or by its number alone; −1 is none, where a score is NaN."""
    if number is None:
        return NOTHING
    if number < 0:
        return "none (NaN)"
    return f"{number} {names[number]}" if number < len(names) else str(number)


def signed(text: str) -> str:
    """Return the text of a number with a true minus sign."""
    return text.replace("-", _MINUS)


def number(value: float | None, digits: int = 4) -> str:
    """Return about `digits` significant digits."""
    return NOTHING if value is None else signed(f"{value:.{digits}g}")


def count(value: int | None) -> str:
    """Return a whole number with thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def share(value: float | None, digits: int = 2) -> str:
    """Return a share, 0 … 1, as a percentage; what is not quite 0 or 100 % never reads as such."""
    if value is None or math.isnan(value):
        return NOTHING
    least = 10.0**-digits
    if 0 < value * 100 < least / 2:
        return f"< {least:g} %"
    if 100 - least / 2 < value * 100 < 100:
        return f"> {100 - least:g} %"
    return signed(f"{value * 100:.{digits}f} %")


def score(value: float | None, unit: str) -> str:
    """Return a metric's value: a percentage where its unit is points, else a number."""
    return share(value) if unit == "points" else number(value)


def lost(value: float | None, unit: str) -> str:
    """Return a difference of a metric's values, without the unit."""
    return points(value) if unit == "points" else number(value)


def points(value: float | None) -> str:
    """Return percentage points to two digits, without the unit."""
    return NOTHING if value is None else signed(f"{value + 0.0:.2f}").replace(f"{_MINUS}0.00", "0.00")


def decibel(value: float | None) -> str:
    """Return dB to one digit, without the unit; ∞ for no noise at all."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    return signed(f"{value:.1f}")


def milliseconds(value: float | None) -> str:
    """Return a duration with its unit."""
    return NOTHING if value is None else f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def duration(value: float | None) -> str:
    """Return seconds with a unit that fits."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"


def work(value: int | None) -> str:
    """Return a number of multiply-accumulates to three digits: 9.06 M."""
    if value is None:
        return NOTHING
    for unit, step in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= step:
            return f"{value / step:.3g} {unit}"
    return str(value)


def size(value: int | None) -> str:
    """Return bytes in powers of ten, with the unit."""
    if value is None:
        return NOTHING
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= step:
            return f"{value / step:.2f} {unit}" if value < 10 * step else f"{value / step:.1f} {unit}"
    return f"{value} B"


def span(value: Range | None) -> str:
    """Return «low … high»."""
    return NOTHING if value is None else f"{number(value.low, 3)} … {number(value.high, 3)}"


def dimensions(value: Shape | None) -> str:
    """Return «N×3×224×224»; a free dimension without a name is «?»."""
    if value is None:
        return NOTHING
    return "×".join("?" if size is None else str(size) for size in value) or "scalar"


def sortable(value: float | None) -> str:
    """Return the number that a column sorts by, in full; empty for none."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return «a, b, c and 3 more»."""
    all_names = list(names)
    rest = len(all_names) - most
    return ", ".join(all_names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
