"""Names that Triton, file systems and URLs all take."""

from __future__ import annotations

import re
from pathlib import Path

from quantlab.errors import UsageError

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")


def sanitized(text: str) -> str:
    """Return a name of letters, digits, «_», «.» and «-» that begins with a letter or digit; «model» if nothing is left."""
    ascii_only = re.sub(r"[^A-Za-z0-9_.\-]+", "_", text)
    return ascii_only.lstrip("_.-")[:128].rstrip("_.-") or "model"


def folder_name(folder: Path) -> str:
    """Return what a folder is called, «.» and «..» too; a link has a name of its own."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def checked_name(text: str) -> str:
    """Return a name that a user gave.

    Raises
    ------
    UsageError
        For one that would have to be changed, saying how.
    """
    if not _SAFE.fullmatch(text):
        raise UsageError(
            f"A model is called by letters, digits, «_», «.» and «-», and begins with a letter or digit, not «{text[:60]}»: "
            f"for instance «{sanitized(text)}»."
        )
    return text
