"""Groups what stays float by its reason."""

from collections.abc import Mapping

_SHOWN = 3


def by_reason(floats: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """Return (reason, number, some of the names), the most frequent reason first."""
    groups: dict[str, list[str]] = {}
    for name, reason in floats.items():
        groups.setdefault(reason, []).append(name)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [(reason, len(names), _some(names)) for reason, names in ordered]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
