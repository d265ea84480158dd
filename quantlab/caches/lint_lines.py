"""Checks of a cache alone: its header against the reader, and each line's number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE
from quantlab.calibration.trt_cache import ALGORITHMS, CacheText, CalibrationCache
from quantlab.errors import UsageError
from quantlab.graph.finding import Finding, Severity

TRTEXEC = "EntropyCalibration2"
_HALF = 65504.0  # float16's largest
_FIRST_WITHOUT = 11
_VERSION = re.compile(r"(?:tensorrt@)?(\d+(?:\.\d+){0,3})")
_CONVERT = "Turn it into a Q/DQ model with `quantlab cache convert CACHE --model MODEL.onnx -o MODEL.int8.onnx`."


@dataclass(frozen=True, slots=True)
class Reader:
    """Who is to read the cache: TensorRT's version, such as «8.6.1», the calibrator (None: not known), whether for a DLA."""

    version: str | None = None
    calibrator: str | None = None
    dla: bool = False

    def __post_init__(self) -> None:
        if self.calibrator is not None and self.calibrator not in ALGORITHMS:
            raise UsageError(f"Unknown calibrator «{self.calibrator}»; the known ones are {', '.join(ALGORITHMS)}.")
        if self.version is not None:
            found = _VERSION.fullmatch(self.version)
            if not found:
                raise UsageError(f"A TensorRT version looks like 8.6.1, not «{self.version}».")
            object.__setattr__(self, "version", found[1])

    @property
    def major(self) -> int | None:
        """The first number of the version."""
        return None if self.version is None else int(self.version.partition(".")[0])


def check_header(cache: CalibrationCache, reader: Reader) -> Iterator[Finding]:
    """Check version and algorithm as TensorRT does: the algorithm must be the reader's, of the version only the major counts."""
    if reader.major is not None and reader.major >= _FIRST_WITHOUT:
        yield about("error", "no-reader", "", f"TensorRT {reader.version} reads no calibration cache.", _CONVERT)
        return
    wanted = reader.calibrator
    if cache.algorithm not in ALGORITHMS:
        message = f"The header «{cache.header[:60]}» names no calibrator that is known."
        yield about(
            "warning", "algorithm", "", message, f"Calibrators are {', '.join(ALGORITHMS)}: see `cache retarget`."
        )
    elif wanted is not None and cache.algorithm != wanted:
        message = f"The header is {cache.algorithm}'s, which {wanted} does not read: TensorRT would calibrate anew."
        yield about(
            "error", "algorithm", "", message, f"Change it with `quantlab cache retarget --algorithm {wanted}`."
        )
    elif wanted is None and cache.algorithm != TRTEXEC:
        message = f"The header is {cache.algorithm}'s; trtexec and most programs read {TRTEXEC} only."
        yield about("note", "algorithm", "", message, f"For those, `quantlab cache retarget --algorithm {TRTEXEC}`.")
    if cache.version is None or reader.major is None or cache.algorithm == "LegacyCalibration":
        return
    if int(cache.version.partition(".")[0]) != reader.major:
        message = f"The header names TensorRT {cache.version}, and TensorRT {reader.version} is to read it."
        whole = reader.version if reader.version and "." in reader.version else f"{reader.version}.0"
        yield about("error", "version", "", message, f"Change it with `quantlab cache retarget --tensorrt {whole}`.")
    elif not f"{cache.version}.".startswith(f"{reader.version}."):
        message = (
            f"The header names TensorRT {cache.version}, not {reader.version}; within a major version that is read."
        )
        yield about("note", "version", "", message, "Nothing needs to be done.")


def check_lines(text: CacheText) -> Iterator[Finding]:
    """Check that every line is one, names a tensor once, and holds a scale that TensorRT can use."""
    if text.crlf:
        message = (
            "Its lines end with CR and LF; TensorRT writes LF alone, and may take the CR for a part of the header."
        )
        yield about("warning", "line-ends", "", message, "`quantlab cache retarget` writes it anew, with LF.")
    for number, words in text.broken:
        message = f"Line {number} is not «tensor name: eight hex digits»: «{words[:60]}»."
        yield about("error", "malformed", "", message, "Write the cache anew; TensorRT may refuse or skip it.")
    if not text.lines:
        yield about("error", "empty", "", "The cache has no scale at all.", "Calibrate.")
    given: dict[str, list[float]] = {}
    for line in text.lines:
        given.setdefault(line.tensor, []).append(line.scale)
    for tensor, values in given.items():
        if len(values) > 1:
            differ = "with different scales" if len(set(values)) > 1 else "with one scale"
            message = f"The cache names it {len(values)} times, {differ}."
            yield about("error", "twice", tensor, message, "Keep one line; which of them holds is not defined.")
    for line in text.lines:
        yield from _number(line.tensor, line.scale)


def about(severity: Severity, rule: str, tensor: str, message: str, fix: str) -> Finding:
    """Return a finding on a tensor, or on the whole cache where `tensor` is empty."""
    return Finding(rule, severity, "", tensor, message, fix)


def _number(tensor: str, scale: float) -> Iterator[Finding]:
    anew = "Calibrate it, or take the line out: TensorRT then runs in float what reads or writes it."
    if math.isnan(scale) or math.isinf(scale):
        yield about("error", "not-finite", tensor, f"Its scale is {scale}.", anew)
    elif scale == 0:
        message = "Its scale is 0: TensorRT refuses a tensor that is uniformly zero."
        yield about(
            "error", "zero", tensor, message, "Give it any positive scale, as 1/127: a dead tensor stays exact."
        )
    elif scale < 0:
        yield about("error", "negative", tensor, f"Its scale is {scale:.6g}, below 0.", anew)
    elif scale < SMALLEST_SCALE:
        message = f"Its scale {scale:.4g} is a subnormal float32, which GPUs flush to 0."
        yield about("error", "subnormal", tensor, message, "Give it any positive scale, as 1/127.")
    elif scale > LARGEST_SCALE:
        message = f"Its scale {scale:.4g} times 127 is beyond float32."
        yield about("error", "huge", tensor, message, anew)
    elif scale * 127 > _HALF:
        message = f"It reaches {scale * 127:.4g}, beyond FP16's {_HALF:g}: layers that stay in FP16 overflow."
        yield about("warning", "huge", tensor, message, "Look at the data and the outliers of this tensor.")
