"""TensorRT's calibration cache, as text: a header, then `tensor name: scale` with the scale as eight hex digits.

The digits are a big-endian float32, amax / 127 (TensorRT OSS, sampleINT8 README). Read by TensorRT ≤ 10 only.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.calibration.scale_table import Role, Scale, ScaleTable
from quantlab.calibration.schemes import SMALLEST_SCALE
from quantlab.errors import InputError, UsageError

ALGORITHMS = ("EntropyCalibration2", "MinMaxCalibration", "EntropyCalibration", "LegacyCalibration")
_HEX = re.compile("[0-9a-fA-F]{8}")
_NUMBER = re.compile("[0-9]{1,9}")
_MOST_LINES = 1 << 18
_LEGACY = re.compile("[0-9]+ [0-9a-f]{16} [0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class CalibrationCache:
    """A cache's header, and its scales by tensor name in the file's order; scales are kept as they stand, even 0."""

    header: str
    scales: Mapping[str, float]

    @property
    def algorithm(self) -> str:
        """The header's algorithm, «LegacyCalibration» for Legacy's own first line, or the header itself."""
        if _LEGACY.fullmatch(self.header):
            return "LegacyCalibration"
        parts = self.header.split("-", 2)
        return parts[2] if len(parts) == 3 and parts[0] == "TRT" else self.header

    @property
    def version(self) -> str | None:
        """The header's version, for instance «8.6.0»; None where the header has none."""
        parts = self.header.split("-", 2)
        if len(parts) < 3 or parts[0] != "TRT" or not _NUMBER.fullmatch(parts[1]):
            return None
        number = int(parts[1])
        step = 10000 if number >= 100000 else 1000
        return f"{number // step}.{number % step // 100}.{number % 100}"


@dataclass(frozen=True, slots=True)
class CacheLine:
    """One line: its number in the file from 1, the tensor and its scale, whatever that is."""

    number: int
    tensor: str
    scale: float


@dataclass(frozen=True, slots=True)
class CacheText:
    """A cache as it stands in the file: the first line, the lines that say something, and (number, text) of those that do not.

    `crlf`: whether the first line ends with CR and LF.
    """

    header: str
    lines: tuple[CacheLine, ...]
    broken: tuple[tuple[int, str], ...] = ()
    crlf: bool = False


def header(version: str, algorithm: str, *, quantile: float = 0.9999, cutoff: float = 1.0) -> str:
    """Return the first line of a cache for a TensorRT version such as «8.6.1».

    8.6.1 → TRT-8601-…, 10.3.0 → TRT-100300-…; Legacy's first line holds cutoff and quantile instead.

    Raises
    ------
    UsageError
        For a version that reads no caches, or an unknown algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(f"Unknown calibration algorithm «{algorithm}»; the known ones are {', '.join(ALGORITHMS)}.")
    if re.match("1[1-9]", version):
        raise UsageError(
            f"TensorRT {version} reads no calibration cache: 11 removed them. Write a Q/DQ model with `quantlab quantize`."
        )
    numbers = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)*", version)
    if not numbers:
        raise UsageError(f"A TensorRT version looks like 8.6.1, not «{version}».")
    major, minor, patch = (int(n or 0) for n in numbers.groups())
    if algorithm == "LegacyCalibration":
        return f"0 {_double(cutoff)} {_double(quantile)}"
    number = major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    return f"TRT-{number}-{algorithm}"


def parse_cache(text: str) -> CalibrationCache:
    """Return what a cache's text says; names may hold colons and spaces, so each line is split at its last «: ».

    Raises
    ------
    InputError
        For text that is no cache, naming the line, or a tensor that occurs twice.
    """
    found = scan_cache(text)
    for number, line in found.broken:
        raise InputError(f"Line {number} of the cache is not «tensor name: eight hex digits»: «{line[:80]}».")
    scales: dict[str, float] = {}
    for entry in found.lines:
        if entry.tensor in scales:
            raise InputError(f"Line {entry.number} of the cache names tensor «{entry.tensor}» a second time.")
        scales[entry.tensor] = entry.scale
    return CalibrationCache(found.header, scales)


def scan_cache(text: str) -> CacheText:
    """Return a cache's lines as they stand, repeated and broken ones too.

    Raises
    ------
    InputError
        For text whose first line is no cache's, or with more lines than any network has tensors.
    """
    if text.count("\n") > _MOST_LINES:
        raise InputError(
            f"It has more than {_MOST_LINES:,} lines, and no network has that many tensors: give a calibration cache."
        )
    # Not splitlines(): a name may hold what only Unicode calls a line break.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    first = lines[0] if lines else ""
    if not (first.startswith("TRT-") or _LEGACY.fullmatch(first)):
        raise InputError(
            f"This is no TensorRT calibration cache: it {_beginning(first)}, not with TRT-<version>-<algorithm>."
        )
    entries: list[CacheLine] = []
    broken: list[tuple[int, str]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        name, colon, digits = line.rpartition(": ")
        if not colon or not name or not _HEX.fullmatch(digits.strip()):
            broken.append((number, line))
        else:
            entries.append(CacheLine(number, name, struct.unpack("!f", bytes.fromhex(digits.strip()))[0]))
    return CacheText(first, tuple(entries), tuple(broken), text[len(first) : len(first) + 1] == "\r")


def render_cache(cache: CalibrationCache) -> str:
    """Return the cache's text, bit-exact; what TensorRT wrote comes back byte for byte (other line ends or upper case do not)."""
    lines = [f"{name}: {struct.pack('!f', scale).hex()}" for name, scale in cache.scales.items()]
    return "\n".join([cache.header, *lines]) + "\n"


def cache_of(table: ScaleTable, first_line: str | None = None) -> CalibrationCache:
    """Return the cache that a table amounts to; the header is the given one, or the one that the table was read with.

    Raises
    ------
    UsageError
        When there is no header.
    InputError
        For a row that a cache cannot express, or a name that would break the file.
    """
    top = first_line or table.cache_header
    if top is None:
        raise UsageError("A cache needs a header: name the TensorRT version and algorithm it is for.")
    scales = {}
    for row in table.rows:
        if row.role == "weight":
            continue
        if row.scheme != "symmetric" or row.axis is not None:
            raise InputError(
                f"Tensor «{row.tensor}» is {row.scheme} with {len(row.scale)} scales; a cache holds one symmetric scale a tensor."
            )
        if "\n" in row.tensor or "\r" in row.tensor:
            raise InputError(f"Tensor {row.tensor!r} has a line break in its name, which a cache cannot hold.")
        scales[row.tensor] = row.scale[0]
    return CalibrationCache(top, scales)


def table_of(cache: CalibrationCache, known: frozenset[str] | None = None) -> ScaleTable:
    """Return a cache as a scale table that renders back to it: same order, same header.

    Parameters
    ----------
    known
        Tensor names of the model; keys that are not among them get the role «unknown» and stay.

    Raises
    ------
    InputError
        For a scale that is zero, negative or not finite, naming the tensor.
    """
    rows = []
    for name, scale in cache.scales.items():
        if not SMALLEST_SCALE <= scale < float("inf"):
            raise InputError(
                f"The cache gives tensor «{name}» the scale {scale}; a scale must be finite and > 0, and no subnormal float32."
            )
        role: Role = "activation" if known is None or name in known else "unknown"
        rows.append(Scale(name, (scale,), role=role, method=f"calibration cache ({cache.algorithm})"))
    return ScaleTable(tuple(rows), cache_header=cache.header)


def _beginning(line: str) -> str:
    if line.startswith("\ufeff"):
        return "begins with a byte order mark (save it as UTF-8 without one)"
    return f"begins with «{line[:40]}»" if line else "is empty, or begins with an empty line"


def _double(value: float) -> str:
    return struct.pack("!d", value).hex()
