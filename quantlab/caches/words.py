"""Numbers and lists of names in the sentences about caches."""

from collections.abc import Sequence


def counted(count: int, what: str) -> str:
    """Return «1 tensor» or «3 tensors»."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first few of many names."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f"«{name}»" for name in names[:most]) + more
