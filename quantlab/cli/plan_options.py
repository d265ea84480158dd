"""Build options as they are written on the command line."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from quantlab.engines.tensorrt.build_options import BuildOptions, Precision, Profile, Shape
from quantlab.errors import UsageError
from quantlab.jobs.sizes import parse_bytes

_SHAPE = re.compile(r"\d+(x\d+)*")
_EXAMPLE = "input:1x3x224x224,32x3x224x224,128x3x224x224"


def build_options(
    precision: str | None,
    shapes: Iterable[str],
    calibration_shapes: Iterable[str],
    layers: Iterable[str],
    workspace: str | None,
    *,
    int8: bool,
    **others: Any,
) -> BuildOptions:
    """Return the options; without a precision, scales make INT8 of the default.

    Raises
    ------
    UsageError
        For a text that is none of what is expected, or scales beside a precision without INT8.
    """
    named = precisions(precision) if precision is not None else ("int8",) if int8 else ("fp32",)
    if int8 and "int8" not in named:
        raise UsageError(
            f"Scales are for INT8, and --precision {precision} is without it: give --precision {precision}+int8, or no scales."
        )
    calibrated = profiles(calibration_shapes)
    if len(calibrated) > 1:
        raise UsageError("TensorRT calibrates at one shape: give --calib-shapes once an input.")
    return BuildOptions(
        precision=named,
        profiles=profiles(shapes),
        calibration_profile=calibrated[0] if calibrated else None,
        layers=layer_precisions(layers),
        workspace=None if workspace is None else parse_bytes(workspace),
        **others,
    )


def precisions(text: str) -> tuple[Precision, ...]:
    """Return «int8+fp16» as names."""
    found = tuple(part.strip().lower() for part in text.split("+"))
    known: tuple[Precision, ...] = get_args(Precision)
    wrong = [part for part in found if part not in known]
    if wrong:
        raise UsageError(f"--precision is {', '.join(known)}, or several joined by «+», not «{wrong[0]}».")
    return tuple(part for part in known if part in found)


def profiles(texts: Iterable[str]) -> tuple[Profile, ...]:
    """Return the profiles that «input:smallest,best,largest» texts make; an input that comes again starts another one.

    An input that comes once belongs to every profile.

    Raises
    ------
    UsageError
        For a text of another form, or inputs that come neither once nor as often as the others.
    """
    given: dict[str, list[tuple[Shape, Shape, Shape]]] = {}
    for text in texts:
        name, ranges = _shapes(text)
        given.setdefault(name, []).append(ranges)
    most = max(map(len, given.values()), default=0)
    uneven = [name for name, found in given.items() if len(found) not in (1, most)]
    if uneven:
        raise UsageError(
            f"Input «{uneven[0]}» has {len(given[uneven[0]])} shapes where another has {most}: give each input once, or once a "
            "profile."
        )
    return tuple(Profile({name: found[min(i, len(found) - 1)] for name, found in given.items()}) for i in range(most))


def layer_precisions(texts: Iterable[str]) -> Mapping[str, Any]:
    """Return «PATTERN=fp16» texts as a mapping; the last of a pattern counts."""
    found: dict[str, str] = {}
    for text in texts:
        pattern, equals, precision = text.rpartition("=")
        if not equals or not pattern:
            raise UsageError(f"--layer is PATTERN=PRECISION, as in «head/*=fp16», not «{text}».")
        found.pop(pattern, None)  # its place is that of its last mention
        found[pattern] = precision
    return found


def _shapes(text: str) -> tuple[str, tuple[Shape, Shape, Shape]]:
    name, colon, rest = text.rpartition(":")
    parts = rest.split(",")
    if not colon or not name or len(parts) not in (1, 3) or not all(_SHAPE.fullmatch(part) for part in parts):
        raise UsageError(
            f"Shapes are an input's one shape, or its smallest, best and largest, as in {_EXAMPLE}; not «{text}»."
        )
    found = [tuple(int(size) for size in part.split("x")) for part in parts]
    return name, (found[0], found[-2] if len(found) == 3 else found[0], found[-1])
