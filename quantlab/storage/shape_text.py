"""A tensor's shape as text: a JSON array of sizes, names and null."""

import json

from quantlab.calibration.scale_table import Shape


def render_shape(shape: Shape | None) -> str:
    """Return the text; empty for a shape that is not known."""
    return "" if shape is None else json.dumps(shape, ensure_ascii=False)


def parse_shape(text: str) -> Shape | None:
    """Return the shape; None for an empty text.

    Raises
    ------
    ValueError
        For anything else.
    """
    if not text:
        return None
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, list) or any(type(size) not in (int, str, type(None)) for size in found):
        raise ValueError(f"a shape is a JSON array of sizes, names and null, not {text[:60]}")
    return tuple(found)
