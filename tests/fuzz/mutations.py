"""Mutations that know a format: the tree of a JSON or YAML text, the messages of an ONNX file, the links of an HDF5 file."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import onnx
import yaml

from tests.fuzz.targets import SPLIT, Kind

NUMBERS = (
    0, -1, 1, 2, 7, 127, 128, 255, 256, 2**15, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30,
    10**400,
)  # fmt: skip
FLOATS = (0.0, -0.0, 1e-320, 1e-45, 1e38, 3.5e38, 1e308, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    "", " ", "a", "../x", "/etc/passwd", "\u0000", "\ud800", "\u0085", "«", "😀" * 40, "x" * 5000, "conv1", "nan", "-inf", "int8",
    "3c010a14", "1e999", "../" * 30, "(a+)+$", "*" * 60, "percentile:1e400", "*[", "label", "name", "weights.bin", "!!python/none",
    "<<", "~", "2026-01-01", "0x1F", "1_000", "1:30:00", "=", "%TAG", "&a", "*a", "\x1b[2J", "\u2028", "{}", "[]",
)  # fmt: skip
_SCALARS: tuple[Any, ...] = (*NUMBERS, *FLOATS, *TEXTS, None, True, False, [], {}, [[]], {"a": {}})

_LARGEST = 1 << 20

Draw = random.Random


def mutated(data: bytes, kind: Kind, draw: Draw) -> bytes:
    """Return the input with a few structural changes; bytes that are not of the kind are changed as text or bytes."""
    parts = data.split(SPLIT)
    place = draw.randrange(len(parts))
    change = _CHANGES.get(kind, blocks)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        try:
            parts[place] = change(parts[place], draw)
        except Exception:  # noqa: BLE001 - what cannot be parsed any more is changed as bytes
            parts[place] = draw.choice((lines, blocks))(parts[place], draw)
        if len(parts[place]) > _LARGEST:
            break
    if draw.random() < 0.02 and len(parts) > 1:
        parts.pop(place)
    return SPLIT.join(parts)


def lines(data: bytes, draw: Draw) -> bytes:
    """Delete, double, swap or edit lines and words."""
    found = data.split(b"\n")
    at, other = draw.randrange(len(found)), draw.randrange(len(found))
    action = draw.randrange(6)
    if action == 0:
        del found[at]
    elif action == 1:
        found.insert(at, found[other])
    elif action == 2:
        found[at], found[other] = found[other], found[at]
    elif action == 3:
        found[at] = found[at] * draw.choice((2, 3, 50))
    else:
        words = _split_words(found[at])
        words[draw.randrange(len(words))] = _scalar_text(draw)
        found[at] = b"".join(words)
    return b"\n".join(found)


def blocks(data: bytes, draw: Draw) -> bytes:
    """Flip, write over, delete or double bytes and blocks, or write a hostile integer."""
    if not data:
        return bytes([draw.randrange(256)])
    found = bytearray(data)
    at = draw.randrange(len(found))
    length = draw.choice((1, 2, 4, 8, 16, 64))
    action = draw.randrange(6)
    if action == 0:
        found[at] ^= 1 << draw.randrange(8)
    elif action == 1:
        found[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    elif action == 2:
        width = draw.choice((2, 4, 8))
        value = draw.choice([number for number in NUMBERS if 0 <= number < 1 << 64]) % (1 << 8 * width)
        found[at : at + width] = value.to_bytes(width, draw.choice(("little", "big")))
    elif action == 3:
        del found[at : at + length]
    elif action == 4:
        found[at:at] = found[at : at + length]
    else:
        other = draw.randrange(len(found))
        found[at : at + length] = found[other : other + length]
    return bytes(found)


def json_tree(data: bytes, draw: Draw) -> bytes:
    """Change a value anywhere in a JSON text."""
    return json.dumps(_changed(json.loads(data), draw)).encode("utf-8", "surrogatepass")


def yaml_tree(data: bytes, draw: Draw) -> bytes:
    """Change a value anywhere in a YAML text, or write a tag, an anchor or a merge key into it."""
    if draw.random() < 0.2:
        text = data.decode("utf-8")
        at = text.find(": ", draw.randrange(len(text))) + 2
        odd = draw.choice(
            (
                "!!python/name:os.system ",
                "&a ",
                "*a",
                "!!binary ",
                "!!set ",
                "<<: *a\n",
                "? ",
                "- ",
                "|\n ",
                "%YAML 9.9\n",
            )
        )
        return f"{text[:at]}{odd}{text[at:]}".encode()
    return yaml.safe_dump(_changed(yaml.safe_load(data), draw), allow_unicode=True).encode()


def onnx_message(data: bytes, draw: Draw) -> bytes:
    """Change one field of a message anywhere in a model."""
    model = onnx.ModelProto.FromString(data)
    messages = list(_messages(model))
    message = draw.choice(messages)
    field = draw.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if hasattr(value, "extend"):
        _repeated(value, field, draw)
    elif field.message_type is not None:
        same = [one for one in messages if one.DESCRIPTOR is field.message_type]
        if same and draw.random() < 0.7:
            value.ParseFromString(draw.choice(same).SerializeToString())  # CopyFrom an ancestor ends the process
        else:
            message.ClearField(field.name)
    elif draw.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _scalar(field, draw))
    return bytes(model.SerializeToString())


def _repeated(value: Any, field: Any, draw: Draw) -> None:
    at = draw.randrange(len(value)) if len(value) else 0
    action = draw.randrange(4)
    if action == 0 and len(value):
        del value[at]
    elif field.message_type is not None:
        if action == 1 and len(value):
            value.add().ParseFromString(value[at].SerializeToString())
        elif action == 2 and len(value) > 1:
            value[at].ParseFromString(value[draw.randrange(len(value))].SerializeToString())
        else:
            value.add()
    elif action == 1 or not len(value):
        value.append(_scalar(field, draw))
    else:
        value[at] = _scalar(field, draw)


def _scalar(field: Any, draw: Draw) -> Any:
    """Return a hostile value of a protobuf field's type."""
    for _ in range(50):
        value = draw.choice((*NUMBERS[:-2], *FLOATS, draw.randrange(30)))
        if field.cpp_type == field.CPPTYPE_STRING:
            text = draw.choice(
                (*TEXTS[:5], *TEXTS[9:], "Conv", "Relu", "Add", "QuantizeLinear", "location", "offset", "length")
            )
            return (
                text.encode("utf-8", "replace")
                if field.type == field.TYPE_BYTES
                else text.encode("utf-8", "replace").decode()
            )
        if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return float(value) if abs(value) < 1e300 else 1.0
        low, high = (-(2**63), 2**63) if field.cpp_type == field.CPPTYPE_INT64 else (-(2**31), 2**31)
        if field.cpp_type == field.CPPTYPE_UINT64:
            low, high = 0, 2**64
        if isinstance(value, int) and low <= value < high:
            if field.enum_type is not None:
                return draw.choice([one.number for one in field.enum_type.values])
            return value
    return 1


def _messages(message: Any) -> list[Any]:
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if hasattr(value, "extend") else (value,):
                found += _messages(child)
    return found


def _changed(tree: Any, draw: Draw) -> Any:
    """Return the tree with one node changed, deleted, doubled or nested."""
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places:
        return _odd(draw)
    holder, key = draw.choice(places)
    action = draw.randrange(8)
    if action == 0:
        del holder[key]
    elif action == 1:
        other, name = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
    elif action == 2 and isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(holder[key])))
    elif action == 2:
        holder[draw.choice(TEXTS[:16])] = holder[key]
    elif action == 3:
        holder[key] = [holder[key]] if draw.random() < 0.5 else {"a": holder[key]}
    elif action == 4 and isinstance(holder[key], str) and holder[key]:
        at = draw.randrange(len(holder[key]))
        holder[key] = holder[key][:at] + draw.choice(TEXTS) + holder[key][at + draw.choice((0, 1)) :]
    else:
        holder[key] = _odd(draw)
    return tree


def _odd(draw: Draw) -> Any:
    """Return a hostile value; lists and objects as new ones, or they would grow from input to input."""
    return copy.deepcopy(draw.choice(_SCALARS))


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        places.append((tree, key))
        _collect(tree[key], places)


def _scalar_text(draw: Draw) -> bytes:
    return str(draw.choice(_SCALARS)).encode("utf-8", "surrogatepass")


def _split_words(line: bytes) -> list[bytes]:
    found, start = [], 0
    for place, byte in enumerate(line):
        if byte in b" :,=\"'[]{}":
            found += [line[start:place], line[place : place + 1]]
            start = place + 1
    return [*found, line[start:]]


_CHANGES: dict[str, Callable[[bytes, Draw], bytes]] = {
    "text": lines,
    "json": json_tree,
    "yaml": yaml_tree,
    "onnx": onnx_message,
}
