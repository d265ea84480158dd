"""Preprocessing as people declare it: a file, inline JSON or a mapping; numbers may be fractions such as 1/255."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantlab.data import Preprocess
from quantlab.errors import InputError
from quantlab.storage.yaml_text import parse_yaml, read_yaml

_NUMERIC = ("scale", "mean", "std")


def read_preprocess(text: str) -> dict[str, Any]:
    """Return the fields in a .yaml or .json file, or in an inline JSON object («{"scale": "1/255"}»).

    Raises
    ------
    InputError
        When there is no such file, or it holds no mapping.
    """
    inline = text.lstrip().startswith("{")
    found = parse_yaml(text, "The preprocessing") if inline else read_yaml(Path(text))
    if not isinstance(found, dict):
        raise InputError(f'{"The preprocessing" if inline else text} must be a mapping, such as {{"scale": "1/255"}}.')
    return found


def preprocess_of(fields: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing with these fields; those left out have their defaults.

    Raises
    ------
    InputError
        For a field that is unknown or cannot mean anything.
    """
    return Preprocess.from_json({key: _numbers(value) if key in _NUMERIC else value for key, value in fields.items()})


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    match = re.fullmatch(r"\s*([-+.\deE]+)\s*(?:/\s*([-+.\deE]+)\s*)?", value) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return float(match[1]) / float(match[2] or 1)
    except (ValueError, ZeroDivisionError):
        return value  # Preprocess says what it expected
