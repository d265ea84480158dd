"""Says in words in what two recipes differ."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

_LISTED = 3
_LONGEST = 60


class Made(Protocol):
    """What a recipe has."""

    @property
    def command(self) -> str:
        """What makes it."""
        ...

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests by role."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """JSON values by name."""
        ...


def differences(old: Made, new: Made) -> str:
    """Return what changed, for instance «the data changed (blake2b:1f0c… → blake2b:77ab…), option target was …»."""
    if old.command != new.command:
        return f"it was made by `{old.command}`, not by `{new.command}`"
    found = [*_inputs(old.inputs, new.inputs), *_options(_flat(old.options), _flat(new.options))]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return ", ".join(found[:_LISTED]) + more


def option_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each value that differs: «mean was 0.5 and is 0.4»."""
    return [phrase.removeprefix("option ") for phrase in _options(_flat(old), _flat(new))]


def _inputs(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for role in dict.fromkeys([*old, *new]):
        if role not in old:
            yield f"it was made without the {role}"
        elif role not in new:
            yield f"it was made with the {role}, which is not given now"
        elif old[role] != new[role]:
            yield f"the {role} changed ({_short(old[role])} → {_short(new[role])})"


def _options(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        if name not in new or name not in old or old[name] != new[name]:
            yield f"option {name} was {_shown(old, name)} and is {_shown(new, name)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested objects as one level, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _short(digest: str) -> str:
    kind, colon, digits = digest.partition(":")
    return f"{kind}{colon}{digits[:8]}…" if len(digits) > 8 else digest


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "not given"
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
