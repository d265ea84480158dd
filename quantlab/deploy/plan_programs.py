"""`make_plan` in its three forms: Python and C++ programs, and trtexec's command in a shell script."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from importlib import resources
from typing import Any

from quantlab.engines.tensorrt.build_options import Profile

_CALIBRATORS = {
    "EntropyCalibration2": "IInt8EntropyCalibrator2",
    "MinMaxCalibration": "IInt8MinMaxCalibrator",
    "LegacyCalibration": "IInt8LegacyCalibrator",
    "EntropyCalibration": "IInt8EntropyCalibrator",
}
_SCRIPT = """#!/bin/sh
# Builds model.plan with NVIDIA's trtexec, from the scales in this folder; further arguments go to trtexec.
set -eu
cd "$(dirname "$0")"
PATH="$PATH:/usr/src/tensorrt/bin" # where Jetson's and Debian's packages have it
sha256sum -c SHA256SUMS > /dev/null
exec {} "$@"
"""


def template(name: str) -> str:
    """Return the text of one of the bundle's programs."""
    return resources.files("quantlab.deploy").joinpath(f"templates/{name}.txt").read_text(encoding="utf-8")


def python_program() -> str:
    """Return `make_plan.py`, which reads `bundle.json` and is the same in every bundle."""
    return template("make_plan.py")


def shell_program(command: str) -> str:
    """Return `make_plan.sh` around trtexec's command."""
    return _SCRIPT.format(command)


def cpp_program(settings: Mapping[str, Any], cache_header: str = "") -> str:
    """Return `make_plan.cpp` with a bundle's settings in it.

    Parameters
    ----------
    settings
        As `bundle.json` has them.
    cache_header
        First line of the cache; of Legacy's, quantile and cutoff are in it.
    """
    cache, precision = settings["form"] == "cache", set(settings["precision"])
    workspace, dla = settings["workspace"], settings["dla"]
    lines = [
        f"#define CACHE_FORM {int(cache)}",
        "struct Ends {\n    std::vector<int> low, best, high;\n};",
        "using Shapes = std::map<std::string, Ends>;",
        f"static std::vector<Shapes> const PROFILES = {{{', '.join(_shapes(p) for p in settings['profiles'])}}};",
        *(f"static constexpr bool {name.upper()} = {_truth(name in precision)};" for name in ("int8", "fp16", "tf32")),
        f"static constexpr bool GPU_FALLBACK = {_truth(settings['gpu_fallback'])};",
        f"static constexpr long long WORKSPACE = {-1 if workspace is None else workspace};  // bytes; -1: TensorRT's default",
        f"static constexpr int DLA = {-1 if dla is None else dla};  // its core; -1: the GPU",
    ]
    if cache:
        quantile, cutoff = _legacy_numbers(settings["algorithm"], cache_header)
        lines += [
            f"#define CALIBRATOR {_CALIBRATORS[settings['algorithm']]}",
            f"static char const* const CACHE = {c_string(settings['cache'])};",
            f"static constexpr double QUANTILE = {quantile!r}, CUTOFF = {cutoff!r};",
        ]
    return template("make_plan.cpp").replace("@SETTINGS@", "\n".join(lines))


def c_string(text: str) -> str:
    """Return a text as a C string literal: what is not plain becomes octal escapes of its UTF-8 bytes."""
    plain = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _./:-+")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def profile_shapes(profile: Profile) -> dict[str, list[list[int]]]:
    """Return a profile as `bundle.json` and a plan's card have it."""
    return {name: [list(shape) for shape in ends] for name, ends in profile.shapes.items()}


def _shapes(profile: Mapping[str, Any]) -> str:
    inputs = (
        f"{{{c_string(name)}, Ends{{{', '.join('{' + ', '.join(map(str, shape)) + '}' for shape in ends)}}}}}"
        for name, ends in profile.items()
    )
    return f"Shapes{{{', '.join(inputs)}}}"


def _truth(value: object) -> str:
    return "true" if value else "false"


def _legacy_numbers(algorithm: str, header: str) -> tuple[float, float]:
    """Return quantile and cutoff: TensorRT takes a Legacy cache only where both agree with its first line."""
    if algorithm != "LegacyCalibration":
        return 0.9999, 1.0
    _, cutoff, quantile = header.split(" ")
    return struct.unpack("!d", bytes.fromhex(quantile))[0], struct.unpack("!d", bytes.fromhex(cutoff))[0]
