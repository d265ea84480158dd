"""A frozen value as JSON and back, every field checked."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from quantlab.errors import InputError

SCHEMA = "quantlab-comparison"
VERSION = 1


class _Written(Protocol):
    def to_json(self) -> dict[str, Any]: ...


Value = TypeVar("Value", bound=_Written)


def to_json(value: Any, *, schema: str = SCHEMA) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values, stamped with schema and version."""
    return {"schema": schema, "version": VERSION} | json.loads(json.dumps(asdict(value), allow_nan=False))


def from_json(kind: type[Value], value: object, *, schema: str = SCHEMA) -> Value:
    """Read what the value's `to_json` returned, as JSON values or as text.

    Raises
    ------
    InputError
        When it is no JSON, of another schema or version, or a field is missing, unknown or of another type.
    """
    fields = _stamped(value, schema)
    try:
        read = TypeAdapter(kind).validate_json(json.dumps(fields, allow_nan=False), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"The comparison's field «{place}» is wrong: {first['msg']}.") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"A comparison cannot be read from this: {error}.") from error
    unknown = _surplus(fields, read.to_json())
    if unknown:
        raise InputError(f"A comparison has no field «{unknown}»: the artefact was edited, or is a newer quantlab's.")
    return read


def _stamped(value: object, schema: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value) if isinstance(value, (str, bytes)) else value
    except (ValueError, RecursionError) as error:
        raise InputError(f"A comparison must be JSON: {error}.") from error
    if not isinstance(parsed, Mapping) or parsed.get("schema") != schema:
        raise InputError(f'This is no comparison of quantlab: it lacks "schema": "{schema}".')
    if parsed.get("version") != VERSION:
        raise InputError(
            f"The comparison has version {parsed.get('version')!r} of its format, and this quantlab reads {VERSION}: "
            "compare again."
        )
    return {str(name): field for name, field in parsed.items() if name not in ("schema", "version")}


def _surplus(given: object, known: object, place: str = "") -> str:
    """Return the place of the first field of `given` that `known` lacks; empty if there is none."""
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        names = [name for name in given if name not in known]
        if names:
            return f"{place}{names[0]}"
        pairs = [(name, given[name], known[name]) for name in given]
    elif isinstance(given, list) and isinstance(known, list):
        pairs = list(zip(range(len(given)), given, known))  # noqa: B905  (a read list has as many)
    else:
        return ""
    return next(filter(None, (_surplus(one, two, f"{place}{name}.") for name, one, two in pairs)), "")
