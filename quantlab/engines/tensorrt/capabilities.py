"""Which TensorRT can do what, in one table, and what to do instead; read from NVIDIA's headers, no runtime is asked.

Versions are those at whose tag NVIDIA/TensorRT's headers, or TensorRT-RTX 1.7's Python module, first or last have a
feature (9.1's stand for 9.0, which has no tag). What release notes say of DLA, and TensorRT-RTX's guides of plugins and
timing caches, overrules headers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from quantlab.errors import UsageError

Feature: TypeAlias = Literal[
    "calibrators",
    "calibration cache",
    "dynamic ranges",
    "calibration profile",
    "weak typing",
    "precision constraints",
    "strong typing",
    "Q/DQ",
    "bf16",
    "fp8",
    "int4",
    "int64 tensors",
    "named I/O",
    "implicit batch",
    "optimization level",
    "timing cache",
    "version-compatible plans",
    "hardware-compatible plans",
    "refit",
    "stripped plans",
    "progress monitor",
    "plugins V2",
    "plugins V3",
    "DLA",
]
FEATURES: tuple[Feature, ...] = get_args(Feature)
TITLES: Mapping[str, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
SHOWN = ("8.5", "8.6", "9.0", "10.0", "10.1", "10.8", "10.12", "11.0", "11.4")
"""The versions of `tensorrt` at which something changes."""
RTX_GPUS = (
    "TensorRT-RTX 1.7 builds plans anywhere, but runs them on GPUs of compute capability 8.0, 8.6, 8.9 and from 12.0 on: "
    "for others, H100 and H200 (9.0) among them, build with TensorRT (--library tensorrt)."
)
"""As its runtime says where it refuses a GPU."""

Version: TypeAlias = tuple[int, ...]
_VERSION = re.compile(r"(\d+(?:\.\d+){1,4})(?:[.+]?[a-z]\w*)?")


@dataclass(frozen=True, slots=True)
class Support:
    """Where a feature exists, and what to do where it does not.

    Attributes
    ----------
    noun
        The feature in a sentence: «TensorRT 11.0 has no …».
    instead
        What to do where it is missing.
    spans
        First version with it and first one without, of `tensorrt`; None is open. Older versions than 8.5 are left out.
    deprecated
        From when on its own headers advise against it.
    rtx
        Whether TensorRT-RTX has it.
    """

    noun: str
    instead: str
    spans: tuple[tuple[Version, Version | None], ...] = (((8, 5), None),)
    deprecated: Version | None = None
    rtx: bool = True

    def at(self, version: Version) -> bool:
        """Tell whether a version of `tensorrt` has it."""
        return any(since <= version and (until is None or version < until) for since, until in self.spans)


_QDQ = "use Q/DQ; `quantlab cache convert` makes it from this cache (CACHE --model MODEL -o MODEL.int8.onnx)"
_MODEL = "convert the model, as its own types decide, and build it without that precision"
_TO_10 = (((8, 5), (11, 0)),)


def _until_11(noun: str, instead: str, deprecated: Version) -> Support:
    return Support(noun, instead, _TO_10, deprecated, rtx=False)


def _since(*version: int) -> tuple[tuple[Version, Version | None], ...]:
    return ((version, None),)


TABLE: Mapping[Feature, Support] = {
    "calibrators": _until_11(
        "calibrators",
        "calibrate with `quantlab collect` and `quantlab calibrate`, and give the Q/DQ model of `quantlab quantize`",
        (10, 1),
    ),
    "calibration cache": _until_11("calibration caches", _QDQ, (10, 1)),
    "dynamic ranges": _until_11(
        "dynamic ranges", "use Q/DQ; `quantlab quantize` makes it from this scale table", (10, 1)
    ),
    "calibration profile": _until_11(
        "calibration profiles",
        "collect at several shapes with `quantlab collect`, and give the Q/DQ model of `quantlab quantize`",
        (10, 1),
    ),
    "weak typing": _until_11("weak typing", _MODEL, (10, 12)),
    "precision constraints": _until_11(
        "precision constraints",
        "keep layers float in the model: `quantlab quantize` leaves float what the scale table lacks",
        (10, 12),
    ),
    "strong typing": Support("strong typing", "build without --strongly-typed", _since(9, 0)),
    "Q/DQ": Support("explicit Q/DQ", "use a calibration cache"),
    "bf16": Support("BF16", "use fp16", _since(9, 0)),
    "fp8": Support("FP8", "use int8", _since(9, 0)),
    "int4": Support("INT4", "use int8", _since(10, 0)),
    "int64 tensors": Support("64-bit integers", "its parser narrows them to 32 bits", _since(9, 0)),
    "named I/O": Support("tensors by name", "use TensorRT 8.5 or later"),
    "implicit batch": Support(
        "implicit batch", "use the batch dimension of the model", (((8, 5), (10, 0)),), rtx=False
    ),
    "optimization level": Support("builder optimization levels", "build without --level", _since(8, 6)),
    "timing cache": Support("timing caches", "build without --timing-cache, which would change nothing", rtx=False),
    "version-compatible plans": Support(
        "version-compatible plans", "build on each version that will run the plan", _since(8, 6), rtx=False
    ),
    "hardware-compatible plans": Support(
        "hardware-compatible plans", "build without --hardware-compatible", _since(8, 6), rtx=False
    ),
    "refit": Support("refit", "build without --refit"),
    "stripped plans": Support("plans without weights", "build without --strip", _since(10, 0)),
    "progress monitor": Support("a progress monitor", "watch the elapsed time", _since(9, 0)),
    "plugins V2": Support(
        "plugins", "express the operator with built-in ones in the model", deprecated=(10, 0), rtx=False
    ),
    "plugins V3": Support("IPluginV3", "write the plugin as IPluginV2DynamicExt", _since(10, 0), rtx=False),
    "DLA": Support(
        "DLA",
        "build without --dla, or with the TensorRT of the machine that has one (up to 10.7, or 11.4 on its platforms)",
        (((8, 5), (10, 8)), ((11, 4), None)),
        rtx=False,
    ),
}


def parse_version(text: str) -> Version:
    """Return «8.6.1», «10.3.0.26», «11.4» or «10.0.0b6» as numbers.

    Raises
    ------
    UsageError
        For anything else.
    """
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"A TensorRT version looks like 8.6.1 or 11.4, not «{text}».")
    return tuple(int(part) for part in match[1].split("."))


def has(feature: Feature, library: str, version: str) -> bool:
    """Tell whether a version of `tensorrt` or `tensorrt_rtx` has a feature.

    TensorRT-RTX is known as of 1.7; older versions are answered for alike.
    """
    support, parsed = TABLE[feature], parse_version(version)
    return support.rtx if library == "tensorrt_rtx" else support.at(parsed)


def require(feature: Feature, library: str, version: str) -> None:
    """Refuse a feature that a version lacks.

    Raises
    ------
    UsageError
        With what to do instead.
    """
    if not has(feature, library, version):
        support = TABLE[feature]
        raise UsageError(
            f"{TITLES[library]} {version} has no {support.noun} ({_when(support, library, version)}): {support.instead}."
        )


def always_typed(library: str, version: str) -> bool:
    """Tell whether a network's types are always the model's own."""
    return not has("weak typing", library, version)


def _when(support: Support, library: str, version: str) -> str:
    if library == "tensorrt_rtx":
        until = support.spans[-1][1]
        return "TensorRT has" if until is None else f"TensorRT up to {until[0] - 1} has"
    ended = [until for _, until in support.spans if until is not None and until <= parse_version(version)]
    return f"removed in {shown(ended[-1])}" if ended else f"it came with {shown(support.spans[0][0])}"


def shown(version: Version) -> str:
    """Return a version as text."""
    return ".".join(str(part) for part in version)


def columns(version: str | None = None, library: str = "tensorrt") -> tuple[tuple[str, str], ...]:
    """Return the libraries and versions that a table shows: all at which something changes, or the one asked for."""
    if version is not None:
        parse_version(version)
        return ((library, version),)
    return (*(("tensorrt", known) for known in SHOWN), ("tensorrt_rtx", "1.7"))


def table(version: str | None = None, library: str = "tensorrt") -> tuple[tuple[str, ...], ...]:
    """Return a row a feature: its name, then «yes», «deprecated» or «no» for each of `columns`."""
    return tuple(
        (feature, *(_cell(TABLE[feature], *column) for column in columns(version, library))) for feature in FEATURES
    )


def _cell(support: Support, library: str, version: str) -> str:
    if library == "tensorrt_rtx":
        return "yes" if support.rtx else "no"
    parsed = parse_version(version)
    if not support.at(parsed):
        return "no"
    return "deprecated" if support.deprecated is not None and support.deprecated <= parsed else "yes"
