"""Sizes in bytes, as people write them."""

import re

from quantlab.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: str | int) -> int:
    """Return the bytes that «512MiB», «1.5 GB» or a number stands for.

    Raises
    ------
    UsageError
        For anything else, or less than one byte.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-zA-Z]*)", str(text).strip())
    unit = match[2].upper() if match else ""
    if match is None or unit not in _UNITS or float(match[1]) * _UNITS[unit] < 1:
        raise UsageError(f"A size looks like 512MiB or 2GB, not «{text}».")
    return int(float(match[1]) * _UNITS[unit])


def shown_bytes(count: int) -> str:
    """Return a size for people: «1.2 MB» (powers of ten)."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= step:
            return f"{count / step:.2f} {unit}" if count < 10 * step else f"{count / step:.1f} {unit}"
    return f"{count} B"
