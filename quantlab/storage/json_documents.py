"""JSON files that name their schema and version: parsed with care, as anyone may have written them."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from quantlab.errors import InputError
from quantlab.storage.text import StrPath, read_text
from quantlab.storage.validated import validated

Fields = TypeVar("Fields", bound=BaseModel)

_PLAIN = {"missing": "is missing", "extra_forbidden": "is unknown"}


def read_document(path: StrPath, model: type[Fields], *, schema: str, version: int, what: str) -> Fields:
    """Return the fields of a JSON file, every one checked.

    Parameters
    ----------
    model
        Its fields, strict and closed; among them `schema` and `version`.
    what
        As in «a scale table».

    Raises
    ------
    InputError
        When the file is missing, no JSON, of another schema or a newer version, or a field is wrong, naming it.
    """
    text = read_text(path, what)
    try:
        document = json.loads(
            text.removeprefix("\ufeff"), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
        if "\\ud" in text.lower():  # an escape may stand for half a surrogate pair
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not {what}: its JSON is damaged ({error}).") from error
    _check_stamp(document, path, schema=schema, version=version, what=what)
    try:
        return validated(model, document)
    except ValidationError as error:
        raise InputError(f"'{path}': {_sentence(error, document)}") from error
    except ValueError as error:
        raise InputError(f"'{path}' is not {what}: {error}.") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the field «{repeated}» occurs twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _check_stamp(document: object, path: StrPath, *, schema: str, version: int, what: str) -> None:
    found = document if isinstance(document, Mapping) else {}
    if found.get("schema") != schema:
        raise InputError(f'\'{path}\' is not {what} of quantlab: it lacks "schema": "{schema}".')
    given = found.get("version")
    if type(given) is not int or given < 1:
        raise InputError(f"'{path}' is not {what} of quantlab: its version is {given!r}, not a number from 1 on.")
    if given > version:
        raise InputError(
            f"'{path}' was made by a newer quantlab: it has version {given} of its format, and this one reads up to "
            f"{version}. Update quantlab, or make the file again."
        )


def _sentence(error: ValidationError, document: Mapping[str, Any]) -> str:
    """Return what is wrong with the first wrong field."""
    first = error.errors(include_url=False)[0]
    row, location = "", list(first["loc"])
    if len(location) > 1 and isinstance(location[1], int):
        row = _row(str(location[0]), location[1], document) + ", "
        location = location[2:]
    field = f"field «{_field(location)}» " if location else ""
    wrong = _PLAIN.get(first["type"])
    if wrong is None:
        wrong = f"is {_shown(first['input'])}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{row}{field}{wrong}."


def _row(container: str, index: int, document: Mapping[str, Any]) -> str:
    """Return «row 4 («conv1»)», counting from 1."""
    row = document[container][index]
    tensor = row.get("tensor") if isinstance(row, Mapping) else None
    name = f" («{tensor}»)" if isinstance(tensor, str) else ""
    return f"{container.removesuffix('s')} {index + 1}{name}"


def _field(location: list[int | str]) -> str:
    """Return a field's name with the index in it; what follows names an alternative of its type."""
    index = f"[{location[1]}]" if len(location) > 1 and isinstance(location[1], int) else ""
    return f"{location[0]}{index}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
