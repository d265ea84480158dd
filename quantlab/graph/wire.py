"""Tell a truncated ONNX file from something that is no ONNX file, by the outermost layer of protobuf's format."""

from __future__ import annotations

from collections.abc import Iterator

# Field numbers of ModelProto in onnx.proto; the wire type is 0 for integers and 2 for everything with a length.
_INTEGERS = frozenset({1, 5})
_WITH_LENGTH = frozenset({2, 3, 4, 6, 7, 8, 14, 20, 25, 26})
_KNOWN = frozenset({(number, 0) for number in _INTEGERS} | {(number, 2) for number in _WITH_LENGTH})
_LONGEST_VARINT = 10


def looks_like_onnx(data: bytes) -> bool:
    """Tell whether `data` starts with a field of ModelProto."""
    return next(_fields(data), None) is not None


def is_cut_short(data: bytes) -> bool:
    """Tell whether the last field of a ModelProto runs past the end of `data`."""
    return max(_fields(data), default=0) > len(data)


def _fields(data: bytes) -> Iterator[int]:
    """Yield where each outermost field ends, as long as fields of ModelProto follow each other."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if (number, wire) not in _KNOWN:
            return
        value, position = _varint(data, position)
        position += value if wire == 2 else 0
        yield position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a base-128 number and where it ends, which is past the end of `data` if the number is cut."""
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        byte = data[position] if position < len(data) else 0
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            break
    return value, position
