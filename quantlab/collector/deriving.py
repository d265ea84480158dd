"""Which tensors are counted, and how the others' histograms follow exactly from theirs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.derive import Clip, Derivation, Pad, Same
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.counting import Tally, can_clip
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted, in graph order; what is counted; and the rule of each tensor that is derived instead."""

    wanted: tuple[str, ...]
    counted: tuple[str, ...]
    rules: Mapping[str, Derivation]

    @property
    def sources(self) -> dict[str, str]:
        """Derived tensor → the tensor it follows from."""
        return {tensor: rule.source for tensor, rule in self.rules.items()}

    @property
    def padded(self) -> tuple[str, ...]:
        """Tensors derived by adding zeros."""
        return tuple(tensor for tensor, rule in self.rules.items() if isinstance(rule.rule, Pad))

    def root(self, tensor: str) -> str:
        """Return the counted tensor at the end of the chain."""
        while tensor in self.rules:
            tensor = self.rules[tensor].source
        return tensor

    def add_padding(self, padding: dict[str, int], outputs: Tensors) -> None:
        """Add, for each padded tensor, the zeros that this batch brought."""
        for tensor in self.padded:
            root = self.root(tensor)
            if root in outputs:
                padding[tensor] += _zeros_added(outputs[root].shape, self._pads(tensor))

    def _pads(self, tensor: str) -> list[tuple[int, ...]]:
        """Return the pads on the way from the counted tensor, first applied first."""
        found: list[tuple[int, ...]] = []
        while tensor in self.rules:
            rule = self.rules[tensor].rule
            if isinstance(rule, Pad):
                found.insert(0, tuple(rule.pads))
            tensor = self.rules[tensor].source
        return found


def plan_counting(engine: Engine, *, tensorrt: bool) -> Plan:
    """Return the plan for all float outputs of an engine.

    Raises
    ------
    InputError
        When the engine has no float output.
    """
    wanted = tuple(name for name, spec in engine.outputs.items() if spec.dtype.kind == "f")
    if not wanted:
        raise InputError("The engine has no float output to count: expose some, for instance expose='quantizable'.")
    rules: dict[str, Derivation] = {}
    for tensor in wanted:
        rule = engine.derivations.get(tensor)
        if rule is not None and rule.source in wanted and _exact(rule, rules, tensorrt=tensorrt):
            rules[tensor] = rule
    return Plan(wanted, tuple(t for t in wanted if t not in rules), rules)


def _exact(derivation: Derivation, earlier: Mapping[str, Derivation], *, tensorrt: bool) -> bool:
    rule = derivation.rule
    if isinstance(rule, Same):
        return True
    if isinstance(rule, Clip):
        # TensorRT's bin width follows each tensor's own maximum, so its grid of the clipped tensor is another one.
        return not tensorrt and can_clip(rule.low, rule.high)
    # The number of zeros follows from the counted tensor's shape, which a Reshape in between would hide.
    shape_kept, source = True, derivation.source
    while source in earlier:
        shape_kept &= not isinstance(earlier[source].rule, Same)
        source = earlier[source].source
    return shape_kept and rule.value == 0 and rule.pads[0] == rule.pads[len(rule.pads) // 2] == 0 and min(rule.pads) >= 0


def derive_histograms(tallies: Mapping[str, Tally], plan: Plan, padding: Mapping[str, int]) -> dict[str, Histogram]:
    """Return the histogram of every wanted tensor."""
    known = dict(tallies)
    waiting = [t for t in plan.wanted if t in plan.rules]
    while waiting:
        ready = [t for t in waiting if plan.rules[t].source in known]
        for tensor in ready:
            known[tensor] = _derived(known[plan.rules[tensor].source], plan.rules[tensor], padding.get(tensor, 0))
        waiting = [t for t in waiting if t not in known]
    return {tensor: Histogram.from_tally(known[tensor]) for tensor in plan.wanted}


def _derived(source: Tally, derivation: Derivation, zeros: int) -> Tally:
    rule = derivation.rule
    if isinstance(rule, Clip):
        return source.clipped(rule.low, rule.high)
    return source.padded(zeros) if isinstance(rule, Pad) else source


def derive_tensorrt(
    histograms: Mapping[str, TensorRTHistogram], plan: Plan, padding: Mapping[str, int]
) -> dict[str, TensorRTHistogram]:
    """Return TensorRT's histogram of every wanted tensor: padding adds to bin 0, all else is the source's."""
    result: dict[str, TensorRTHistogram] = {}
    for tensor in plan.wanted:
        source = histograms[plan.root(tensor)]
        counts = source.counts.copy()
        counts[0] += sum(padding.get(step, 0) for step in _steps(tensor, plan))
        result[tensor] = replace(source, counts=counts)
    return result


def _steps(tensor: str, plan: Plan) -> list[str]:
    steps = []
    while tensor in plan.rules:
        steps.append(tensor)
        tensor = plan.rules[tensor].source
    return steps


def _zeros_added(shape: tuple[int, ...], pads: list[tuple[int, ...]]) -> int:
    """Return the zeros that the last of several pads in a row adds."""
    for pad in pads[:-1]:
        shape = _padded_shape(shape, pad)
    return prod(_padded_shape(shape, pads[-1])) - prod(shape)


def _padded_shape(shape: tuple[int, ...], pads: tuple[int, ...]) -> tuple[int, ...]:
    half = len(pads) // 2
    return tuple(int(n) for n in np.add(shape, np.add(pads[:half], pads[half:])))
