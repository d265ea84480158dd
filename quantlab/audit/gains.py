"""Where one engine takes longer than another of the same network: every layer's time, in one place or the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from quantlab.audit.layers import LayerRow


@dataclass(frozen=True, slots=True)
class Gain:
    """What one place of the network takes in each of two engines.

    Attributes
    ----------
    place
        Its nodes; for copies, Q and DQ the layers' names.
    first, second
        Milliseconds; 0 for an engine that has no layer there.
    """

    place: str
    first: float
    second: float

    @property
    def milliseconds(self) -> float:
        """How much longer the second engine takes; negative where it is faster."""
        return self.second - self.first

    def __str__(self) -> str:
        return f"«{self.place}» {self.milliseconds:+.4f} ms"


@dataclass(frozen=True, slots=True)
class Place:
    """Nodes that both engines have, and the layers that hold them."""

    nodes: tuple[str, ...]
    first: tuple[LayerRow, ...]
    second: tuple[LayerRow, ...]


_Key = tuple[str, str, str]


def gains(places: Iterable[Place], first: Sequence[LayerRow], second: Sequence[LayerRow]) -> tuple[Gain, ...]:
    """Return the gains of all layers, the largest difference first; () unless both engines have times.

    Layers that hold none of the nodes stand for each other if they lie in front of the same nodes and turn the same
    type into the same: the copy that makes INT8 of an input, and the Q that does. The gains add up to the engines'.
    """
    if not all(any(row.milliseconds is not None for row in rows) for rows in (first, second)):
        return ()
    listed = tuple(places)
    found = [Gain(", ".join(place.nodes), _time(place.first), _time(place.second)) for place in listed]
    held = {id(row): place.nodes[0] for place in listed for row in (*place.first, *place.second)}
    one, two = _between(first, held), _between(second, held)
    for key in dict.fromkeys((*one, *two)):
        before, after = one.get(key, []), two.get(key, [])
        found.append(Gain(_named(before, after), _time(before), _time(after)))
    return tuple(sorted(found, key=lambda gain: -abs(gain.milliseconds)))


def _between(rows: Sequence[LayerRow], held: Mapping[int, str]) -> dict[_Key, list[LayerRow]]:
    """Return the layers that hold no shared node, by the node that follows and by what they turn into what."""
    found: dict[_Key, list[LayerRow]] = {}
    following = ""
    for row in reversed(rows):
        following = held.get(id(row), following)
        if id(row) not in held:
            found.setdefault((following, row.precision, row.output_precision), []).append(row)
    return found


def _time(rows: Iterable[LayerRow]) -> float:
    return sum(row.milliseconds or 0.0 for row in rows)


def _named(first: Sequence[LayerRow], second: Sequence[LayerRow]) -> str:
    names = [" and ".join(row.name for row in reversed(rows)) for rows in (second, first) if rows]
    return names[0] if len({*names}) == 1 else " in place of ".join(names)
