"""An audit as JSON and back, every field checked."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from quantlab.errors import InputError

SCHEMA = "quantlab-audit"
VERSION = 1

Value = TypeVar("Value")


def to_json(value: Any, schema: str = SCHEMA) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values, stamped with schema and version."""
    return {"schema": schema, "version": VERSION} | json.loads(json.dumps(asdict(value), allow_nan=False))


def from_json(kind: type[Value], value: object) -> Value:
    """Read what `to_json` returned, as JSON values or as text.

    Raises
    ------
    InputError
        When it is no JSON, of another schema or version, or a field is missing, unknown or of another type.
    """
    fields = _stamped(value)
    try:
        read = TypeAdapter(kind).validate_json(json.dumps(fields, allow_nan=False), strict=True)
        if json.loads(json.dumps(asdict(read))) != fields:  # type: ignore[call-overload]
            raise InputError("An audit has no such fields: the artefact was edited, or is a newer quantlab's.")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"The audit's field «{place}» is wrong: {first['msg']}.") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"An audit cannot be read from this: {error}.") from error
    return read


def _stamped(value: object) -> dict[str, Any]:
    try:
        parsed = json.loads(value) if isinstance(value, (str, bytes)) else value
    except (ValueError, RecursionError) as error:
        raise InputError(f"An audit must be JSON: {error}.") from error
    if not isinstance(parsed, Mapping) or parsed.get("schema") != SCHEMA:
        raise InputError(f'This is no audit of quantlab: it lacks "schema": "{SCHEMA}".')
    if parsed.get("version") != VERSION:
        raise InputError(
            f"The audit has version {parsed.get('version')!r} of its format, and this quantlab reads {VERSION}: "
            "audit again."
        )
    return {str(name): field for name, field in parsed.items() if name not in ("schema", "version")}
