"""Times a layer, as JSON: quantlab's own, layer → milliseconds, or the list that trtexec's --exportProfile writes."""

import json
import math
from collections import Counter
from collections.abc import Mapping

from quantlab.audit.inspector import without_profile
from quantlab.errors import InputError

_TIMES = ("medianMs", "averageMs")


def parse_profile(text: str) -> dict[str, float]:
    """Return the milliseconds of each layer, the median where it is given; a layer listed twice has the sum.

    Raises
    ------
    InputError
        For text that is neither of the two, or a time that is negative or not finite.
    """
    try:
        value = json.loads(text.removeprefix("\ufeff"), strict=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The profile must be JSON: {error}.") from error
    if isinstance(value, Mapping):
        value = [{"name": name, "medianMs": time} for name, time in value.items()]
    if not isinstance(value, list):
        raise InputError("The profile must be an object, layer → milliseconds, or the list that trtexec exports.")
    times: dict[str, float] = {}
    for record in value:
        if isinstance(record, Mapping) and "name" in record:
            name = str(record["name"])
            times[name] = times.get(name, 0.0) + _milliseconds(
                name, next((record[k] for k in _TIMES if k in record), None)
            )
    if not times:
        raise InputError("The profile names no layer: it must be an object, layer → milliseconds, or trtexec's list.")
    return times


def checked_profile(profile: Mapping[str, float]) -> dict[str, float]:
    """Return the same times.

    Raises
    ------
    InputError
        For a time that is no number, negative or not finite.
    """
    return {name: _milliseconds(name, time) for name, time in profile.items()}


def profile_number(times: Mapping[str, float]) -> int | None:
    """Return the optimization profile that was timed, the first of several; None without times.

    One that has half as many layers as another, or fewer, does not count: it has lent them to that one.
    """
    numbers = Counter(without_profile(name)[1] for name in times)
    return min((n for n, count in numbers.items() if 2 * count > max(numbers.values())), default=None)


def times_of(times: Mapping[str, float], number: int) -> dict[str, float]:
    """Return the same times: those of one optimization profile under the layers' names, those of others marked as such."""
    named = ((*without_profile(name), time) for name, time in times.items())
    return {name if of == number else f"{name} [profile {of}]": time for name, of, time in named}


def _milliseconds(name: str, time: object) -> float:
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time) or time < 0:
        raise InputError(f"The profile gives layer «{name:.80}» {time!r:.40} instead of a time in milliseconds.")
    return float(time)
