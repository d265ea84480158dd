"""JSON values as a pydantic type: pydantic by itself keeps a kilobyte for each wrong item, and strangers send millions."""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_core import SchemaValidator

Value = TypeVar("Value")
Document = TypeVar("Document", bound=BaseModel)

MOST_NAMES = 100_000
"""Names in one JSON object; the manifest of as many files would be the largest."""


def validated(kind: type[Document], value: object) -> Document:
    """Return plain JSON values as a model, whose long lists have `fail_fast`.

    Raises
    ------
    pydantic.ValidationError
        When a field is missing, unknown or of another type.
    ValueError
        For an object with more than 100,000 names.
    """
    check_names(value)
    return kind.model_validate(value)


def validated_json(kind: type[Value], text: str) -> Value:
    """Return what a JSON text says as a dataclass, strictly; the first wrong item of a sequence ends it.

    Raises
    ------
    pydantic.ValidationError
        When a field is missing, unknown or of another type.
    """
    described: Any = kind  # a type, which mypy does not take for hashable
    return cast(Value, _validator(described).validate_json(text, strict=True))


def check_names(value: object) -> None:
    """Refuse JSON objects with more names than any artefact has.

    Raises
    ------
    ValueError
        Saying how many.
    """
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if len(found) > MOST_NAMES:
                raise ValueError(f"an object has {len(found):,} names, more than {MOST_NAMES:,}")
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


@cache
def _validator(kind: Any) -> SchemaValidator:
    return SchemaValidator(_failing_fast(TypeAdapter(kind).core_schema))


def _failing_fast(schema: Any) -> Any:
    """Return a core schema whose sequences end at their first wrong item."""
    if isinstance(schema, list | tuple):
        return type(schema)(_failing_fast(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    ends = {"fail_fast": True} if schema.get("type") in ("list", "tuple", "set", "frozenset") else {}
    return {name: _failing_fast(part) for name, part in schema.items()} | ends
