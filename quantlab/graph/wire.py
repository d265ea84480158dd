"""What protobuf's format tells of an ONNX file before it is parsed: whether it is one, is whole, and how much would become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import onnx

# Field numbers of ModelProto in onnx.proto; the wire type is 0 for integers and 2 for everything with a length.
_INTEGERS = frozenset({1, 5})
_WITH_LENGTH = frozenset({2, 3, 4, 6, 7, 8, 14, 20, 25, 26})
_KNOWN = frozenset({(number, 0) for number in _INTEGERS} | {(number, 2) for number in _WITH_LENGTH})
_LONGEST_VARINT = 10
_FIXED = {1: 8, 5: 4}  # bytes by wire type

MOST_MESSAGES = 3_000_000
"""Nodes, attributes, tensors, dimensions, …: one of two bytes takes some 200 once parsed; a model of 100,000 nodes has a third of it."""


def looks_like_onnx(data: bytes) -> bool:
    """Tell whether `data` starts with a field of ModelProto."""
    return next(_fields(data), None) is not None


def is_cut_short(data: bytes) -> bool:
    """Tell whether the last field of a ModelProto runs past the end of `data`."""
    return max(_fields(data), default=0) > len(data)


def has_too_many(data: bytes, most: int = MOST_MESSAGES) -> bool:
    """Tell whether a ModelProto holds more messages than `most`; only their heads are read, never weights."""
    found = 0
    waiting: list[tuple[int, int, Any]] = [(0, len(data), onnx.ModelProto.DESCRIPTOR)]
    while waiting:
        position, end, kind = waiting.pop()
        inner = _messages(kind)
        while position < end:
            tag, position = _varint(data, position)
            number, wire = tag >> 3, tag & 7
            if wire in _FIXED:
                position += _FIXED[wire]
                continue
            if wire not in (0, 2):
                break  # no field of ONNX: protobuf says so
            value, position = _varint(data, position)
            if wire == 0:
                continue
            if number in inner:
                found += 1
                if found > most:
                    return True
                if value:
                    waiting.append((position, min(position + value, end), inner[number]))
            position += value
    return False


@cache
def _messages(kind: Any) -> Mapping[int, Any]:
    """Return the fields of a message that are messages, by number."""
    return {field.number: field.message_type for field in kind.fields if field.message_type is not None}


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
