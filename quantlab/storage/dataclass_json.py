"""A frozen value as JSON and back, stamped with what it is, every field checked."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from quantlab.errors import InputError
from quantlab.storage.validated import check_names, validated_json

VERSION = 1


class _Written(Protocol):
    def to_json(self) -> dict[str, Any]: ...


Value = TypeVar("Value", bound=_Written)


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of value in JSON.

    Attributes
    ----------
    schema
        Its stamp, for instance «quantlab-comparison».
    noun
        What a message calls it.
    again
        What to do about one of another version.
    """

    schema: str
    noun: str
    again: str

    def write(self, value: Any) -> dict[str, Any]:
        """Return the fields of a dataclass as JSON values, stamped with schema and version."""
        return {"schema": self.schema, "version": VERSION} | json.loads(json.dumps(asdict(value), allow_nan=False))

    def read(self, kind: type[Value], value: object) -> Value:
        """Read what the value's `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no JSON, of another schema or version, or a field is missing, unknown or of another type.
        """
        fields = self._stamped(value)
        try:
            check_names(fields)
            read = validated_json(kind, json.dumps(fields, allow_nan=False))
            unknown = _surplus(fields, read.to_json())  # which infinity refuses: what pydantic makes of 400 digits
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"The {self.noun}'s field «{place}» is wrong: {first['msg']}.") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"The {self.noun} cannot be read from this: {error}.") from error
        if unknown:
            raise InputError(
                f"The {self.noun} has no field «{unknown}»: the artefact was edited, or is a newer quantlab's."
            )
        return read

    def _stamped(self, value: object) -> dict[str, Any]:
        try:
            parsed = json.loads(value) if isinstance(value, (str, bytes)) else value
        except (ValueError, RecursionError) as error:
            raise InputError(f"The {self.noun} is no JSON: {error}.") from error
        if not isinstance(parsed, Mapping) or parsed.get("schema") != self.schema:
            raise InputError(f'This is no {self.noun} of quantlab: it lacks "schema": "{self.schema}".')
        if parsed.get("version") != VERSION:
            raise InputError(
                f"The {self.noun} has version {parsed.get('version')!r} of its format, and this quantlab reads {VERSION}: "
                f"{self.again}."
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
