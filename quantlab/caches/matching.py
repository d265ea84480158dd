"""Which tensor of one export is which tensor of another, by the graphs' structure; names have no say.

After Weisfeiler and Lehman: a tensor's colour is a hash of all that it is computed from and all that is computed from
it. Colours that occur once in both graphs are pairs; pairs become leaves of the next round's hashes. First constants count
by their values, then, for what is left (weights trained further), by their shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from quantlab.caches.signature import COMMUTATIVE, Level, Signatures, digest
from quantlab.graph.view import Graph, operator


@dataclass(frozen=True, slots=True)
class Matching:
    """Tensors of two normalised graphs.

    Attributes
    ----------
    pairs
        Old tensor → new one.
    levels
        Old tensor → what told: its weights, or only the shapes around it.
    twins
        Groups (old tensors, new tensors), each more than one, that nothing in the structure tells apart.
    """

    pairs: Mapping[str, str]
    levels: Mapping[str, Level]
    twins: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def match(old: Graph, new: Graph) -> Matching:
    """Pair the tensors of two graphs whose nodes have names, as `normalise` gives them."""
    search = _Search(Signatures(old), Signatures(new))
    for level in ("weights", "shapes"):
        search.run(level)
    return Matching(MappingProxyType(search.pairs), MappingProxyType(search.levels), tuple(search.twins("shapes")))


class _Search:
    """The pairs found so far; a tensor of either graph is in one of them at most."""

    def __init__(self, old: Signatures, new: Signatures) -> None:
        self.old, self.new = old, new
        self.pairs: dict[str, str] = {}
        self.levels: dict[str, Level] = {}
        self._taken: set[str] = set()

    def run(self, level: Level) -> None:
        """Find pairs until a round brings no new one."""
        if level == "weights":
            self._anchors()
        found = -1
        while found < len(self.pairs):
            found = len(self.pairs)
            for mine, theirs in self._buckets(level):
                if len(mine) == len(theirs) == 1:
                    self._add(mine[0], theirs[0], level)
            self._spread(level)

    def twins(self, level: Level) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Yield what has one colour and is not paired."""
        yield from ((tuple(a), tuple(b)) for a, b in self._buckets(level) if a and b)

    def _buckets(self, level: Level) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the unpaired tensors of each colour, old and new."""
        names = {old: f"pair {i}" for i, old in enumerate(self.pairs)}
        mine = self._colours(self.old, level, names)
        theirs = self._colours(self.new, level, {self.pairs[old]: name for old, name in names.items()})
        for colour, tensors in mine.items():
            yield tensors, theirs.get(colour, [])

    def _colours(self, side: Signatures, level: Level, leaves: Mapping[str, str]) -> dict[str, list[str]]:
        before, behind = side.before(level, leaves), side.behind(level, leaves)
        found: dict[str, list[str]] = {}
        for name in side.graph.tensors():
            if name not in leaves:
                found.setdefault(digest((before[name], behind[name])), []).append(name)
        return found

    def _anchors(self) -> None:
        """Pair the results of operators whose weights occur once in both graphs, and what they read if they read it alike."""
        mine, theirs = _by_weights(self.old), _by_weights(self.new)
        for weights, one in mine.items():
            other = theirs.get(weights)
            if one is None or other is None:
                continue
            self._add(one.output[0], other.output[0], "weights")
            if self.old.of(one, "weights") == self.new.of(other, "weights"):
                self._pair_inputs(one, other, "weights")

    def _spread(self, level: Level) -> None:
        """Go from pairs to what reads both with the same operator, and to what both were made of."""
        for old, new in list(self.pairs.items()):
            mine, theirs = self.old.graph.producer(old), self.new.graph.producer(new)
            if mine is not None and theirs is not None and self._alike(mine, theirs, level):
                self._pair_inputs(mine, theirs, level)
            candidates = [use.node for use in self.new.graph.consumers(new) if use.input_index >= 0]
            for use in self.old.graph.consumers(old):
                fitting = [n for n in candidates if use.input_index >= 0 and self._reads_alike(use.node, n, level)]
                if len(fitting) == 1:
                    for one, other in zip(use.node.output, fitting[0].output, strict=False):
                        self._add(one, other, level)

    def _alike(self, one: onnx.NodeProto, other: onnx.NodeProto, level: Level) -> bool:
        return self.old.of(one, level) == self.new.of(other, level)

    def _reads_alike(self, one: onnx.NodeProto, other: onnx.NodeProto, level: Level) -> bool:
        """Tell whether two nodes compute the same of tensors that are all paired."""
        if not self._alike(one, other, level):
            return False
        mine = [self.pairs.get(t, "") for _, t in self.old.data(one)]
        theirs = [t for _, t in self.new.data(other)]
        return sorted(mine) == sorted(theirs) if operator(one) in COMMUTATIVE else mine == theirs

    def _pair_inputs(self, one: onnx.NodeProto, other: onnx.NodeProto, level: Level) -> None:
        mine = [t for _, t in self.old.data(one)]
        theirs = [t for _, t in self.new.data(other)]
        if operator(one) in COMMUTATIVE:
            mine = [t for t in mine if self.pairs.get(t) not in theirs]
            theirs = [t for t in theirs if t not in self._taken]
            if len(mine) != 1:
                return
        if len(mine) == len(theirs):
            for first, second in zip(mine, theirs, strict=True):
                self._add(first, second, level)

    def _add(self, old: str, new: str, level: Level) -> None:
        if not old or not new or old in self.pairs or new in self._taken:
            return
        if not _same_shape(self.old.graph, old, self.new.graph, new):
            return
        self.pairs[old], self.levels[old] = new, level
        self._taken.add(new)


def _by_weights(side: Signatures) -> dict[str, onnx.NodeProto | None]:
    found: dict[str, onnx.NodeProto | None] = {}
    for node in side.graph.nodes:
        weights = side.weights(node)
        if weights:
            found[weights] = None if weights in found else node
    return found


def _same_shape(one: Graph, first: str, other: Graph, second: str) -> bool:
    """Tell whether two tensors can be the same; the first dimension is the batch, which exports fix or leave open."""
    if one.element_type(first) != other.element_type(second):
        return False
    a, b = one.shape(first), other.shape(second)
    if a is None or b is None:
        return True
    known = ((m, n) for m, n in zip(a[1:], b[1:], strict=False) if isinstance(m, int) and isinstance(n, int))
    return len(a) == len(b) and all(m == n for m, n in known)
