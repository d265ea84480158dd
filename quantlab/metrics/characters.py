"""The characters that a text recogniser's classes stand for: of a list, a file, or the model's own metadata."""

from pathlib import Path

from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.storage.text import read_text

KEY = "character"
"""Where RapidOCR's exports of PaddleOCR keep them, one a line."""

_LARGEST = 1 << 20


def read_characters(path: Path) -> tuple[str, ...]:
    """Return the lines of a UTF-8 file, a character (or several) each; a space is a line too.

    Raises
    ------
    InputError
        When the file is missing, no text, larger than 1 MiB, or empty.
    """
    found = lines(read_text(path, "a list of characters", largest=_LARGEST))
    if not found:
        raise InputError(f"'{path}' holds no character: write one a line.")
    return found


def characters_of(model: Model) -> tuple[str, ...]:
    """Return the characters in a model's metadata; () where it has none."""
    return next((lines(entry.value) for entry in model.proto.metadata_props if entry.key == KEY), ())


def lines(text: str) -> tuple[str, ...]:
    """Return the lines; not `splitlines`, which takes separators that are characters of their own for line ends."""
    parts = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return tuple(parts[:-1] if parts[-1] == "" else parts)
