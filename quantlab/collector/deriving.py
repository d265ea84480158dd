"""Which tensors are counted, and how the others' histograms follow exactly from theirs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.derive import Clip, Derivation, Pad, Pooled, Same
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
    rules = {
        tensor: rule
        for tensor, rule in engine.derivations.items()
        if tensor in wanted and rule.source in wanted and _exact(rule, tensorrt=tensorrt)
    }
    return Plan(wanted, tuple(t for t in wanted if t not in rules), rules)


def _exact(derivation: Derivation, *, tensorrt: bool) -> bool:
    rule = derivation.rule
    if isinstance(rule, Same):
        return True
    if isinstance(rule, Clip):
        # TensorRT's bin width follows each tensor's own maximum, so its grid of the clipped tensor is another one.
        return not tensorrt and can_clip(rule.low, rule.high)
    return tensorrt if isinstance(rule, Pooled) else rule.value == 0


def derive_histograms(tallies: Mapping[str, Tally], plan: Plan) -> dict[str, Histogram]:
    """Return the histogram of every wanted tensor."""
    known = dict(tallies)
    for tensor, derivation in plan.rules.items():  # sources come before what follows from them
        known[tensor] = _derived(known[derivation.source], derivation)
    return {tensor: Histogram.from_tally(known[tensor]) for tensor in plan.wanted}


def _derived(source: Tally, derivation: Derivation) -> Tally:
    rule = derivation.rule
    if isinstance(rule, Clip):
        return source.clipped(rule.low, rule.high)
    return source.padded(rule.added(source.total)) if isinstance(rule, Pad) else source


def derive_tensorrt(histograms: Mapping[str, TensorRTHistogram], plan: Plan) -> dict[str, TensorRTHistogram]:
    """Return the histogram by which TensorRT scales each wanted tensor: padding adds to bin 0, all else is the source's."""
    known = dict(histograms)
    for tensor, derivation in plan.rules.items():
        source, rule = known[derivation.source], derivation.rule
        counts = source.counts.copy()
        counts[0] += rule.added(int(counts.sum())) if isinstance(rule, Pad) else 0
        known[tensor] = replace(source, counts=counts)
    return {tensor: known[tensor] for tensor in plan.wanted}
