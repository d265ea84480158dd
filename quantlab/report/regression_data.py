"""What is told of a regression beside its checks: figures for people, and where each run comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quantlab.comparison.sample_table import SampleTable
from quantlab.regression.check import Check, State
from quantlab.regression.policy import LABEL
from quantlab.regression.regression import Regression, RegressionFlip, ScaleDrift, Slice
from quantlab.regression.run import Run
from quantlab.regression.words import p_text, rounded
from quantlab.report import formats
from quantlab.report.document import embedded

WORDS: dict[State, str] = {"pass": "Pass", "warn": "Warning", "fail": "Fail", "inconclusive": "Inconclusive"}
MOST_SLICES, MOST_TENSORS, MOST_FLIPS, MOST_BARE = 100, 50, 60, 12


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure of the first screen: its name, the value, and what it was before or goes with."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class WorseSample:
    """A sample that the candidate gets wrong and the baseline got right; `picture` is a data URI, or empty."""

    flip: RegressionFlip
    picture: str

    @property
    def title(self) -> str:
        """The sample's name, else its place."""
        return self.flip.name or f"sample {self.flip.index}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the provenance: what both runs were made from."""

    name: str
    baseline: str
    candidate: str

    @property
    def differs(self) -> bool:
        """Whether the runs do."""
        return self.baseline != self.candidate


@dataclass(frozen=True, slots=True)
class RegressionData:
    """Everything on the page.

    Attributes
    ----------
    found
        The regression.
    tiles
        Figures of the first screen.
    slices, tensors
        The first lines of the tables, what is not a pass before the rest.
    worse
        Samples that got worse, those with a picture first.
    worse_count
        How many there are.
    facts
        Where both runs come from.
    class_names
        Of the candidate, else of the baseline; empty where neither knows any.
    """

    found: Regression
    tiles: tuple[Tile, ...]
    slices: tuple[Slice, ...]
    tensors: tuple[ScaleDrift, ...]
    worse: tuple[WorseSample, ...]
    worse_count: int
    facts: tuple[Fact, ...]
    class_names: tuple[str, ...] = ()

    @property
    def needed(self) -> str:
        """How many samples would decide, unless the verdict's sentence says so already; empty where none would."""
        return needed(self.found)

    @classmethod
    def of(cls, found: Regression, baseline: Run, candidate: Run) -> RegressionData:
        """Return what is told of a regression of these runs."""
        flips = [flip for flip in found.flips if flip.effect == "worse"]
        pictures = _pictures(flips, baseline.samples, candidate.samples)
        worse = [WorseSample(flip, embedded(pictures.get(flip.index, b""))) for flip in flips]
        worse.sort(key=lambda sample: not sample.picture)
        shown = max(MOST_BARE, min(MOST_FLIPS, sum(bool(sample.picture) for sample in worse)))
        moved = [drift for drift in found.drifts if drift.ratio != 1 or drift.state != "pass"]
        return cls(
            found,
            tuple(_tiles(found, baseline, candidate)),
            tuple(sorted(found.slices, key=lambda part: part.state == "pass"))[:MOST_SLICES],
            tuple(sorted(moved, key=lambda drift: drift.state == "pass"))[:MOST_TENSORS],
            tuple(worse[:shown]),
            len(worse),
            tuple(_facts(baseline, candidate)),
            candidate.class_names or baseline.class_names,
        )

    def called(self, number: int | None) -> str:
        """Return what to call a class."""
        return formats.class_name(number, self.class_names)

    def slice_name(self, part: Slice) -> str:
        """Return what to call a slice: by label, its class."""
        named = {str(number): self.called(number) for number in range(len(self.class_names))}
        return named.get(part.name, part.name) if part.by == LABEL else part.name


def needed(found: Regression) -> str:
    """Return how many samples would decide what is inconclusive; empty where the verdict's sentence says so, or none would."""
    count = rounded(found.needed_samples) if found.needed_samples else ""
    return "" if f"about {count} would decide" in found.sentence else count


def value_of(check: Check) -> str:
    """Return what a check measured, with its unit."""
    return with_unit(check.value, check.unit)


def with_unit(value: float | None, unit: str) -> str:
    """Return a number of a check with its unit: points, dB, share as a percentage, ratio as «×1.25»."""
    if value is None:
        return formats.NOTHING
    if unit == "share":
        return formats.share(value)
    if unit == "ratio":
        return f"×{formats.number(value)}"
    if unit == "points":
        return f"{formats.points(value)} points"
    if unit == "dB":
        return f"{formats.number(round(value, 1))} dB"
    return f"{formats.number(value)} {unit}".rstrip()


def interval_of(check: Check) -> str:
    """Return «low … high», in the check's unit; a dash without one."""
    if check.interval is None:
        return formats.NOTHING
    low, high = (with_unit(side, check.unit) for side in (check.interval.low, check.interval.high))
    return f"{low.removesuffix(' points').removesuffix(' dB')} … {high}"


def chance(value: float | None) -> str:
    """Return a p-value; tiny ones as a bound, a dash for none."""
    return formats.NOTHING if value is None else p_text(value)


def _pictures(
    flips: Iterable[RegressionFlip], baseline: SampleTable | None, candidate: SampleTable | None
) -> dict[int, bytes]:
    """Return the pictures of samples by the candidate's row; the baseline may have one that the candidate lacks."""
    found = dict(candidate.pictures) if candidate is not None else {}
    theirs = {baseline.keys[row]: row for row in baseline.pictures} if baseline is not None and baseline.keys else {}
    for flip in flips:
        if baseline is not None and flip.index not in found and flip.key in theirs:
            found[flip.index] = baseline.pictures[theirs[flip.key]]
    return found


def _tiles(found: Regression, baseline: Run, candidate: Run) -> Iterator[Tile]:
    left = sum(found.left_out)
    yield Tile(
        "Samples of both runs", formats.count(found.samples), f"{left:,} left out" if left else "the same in both"
    )
    one, two = baseline.comparison, candidate.comparison
    known = {metric.name: metric for metric in one.metrics}
    for metric in two.metrics[:1]:
        before = known.get(metric.name)
        was = f"{formats.score(before.int8, before.unit)} before" if before else ""
        yield Tile(f"INT8 {metric.name}", formats.score(metric.int8, metric.unit), was)
        yield Tile(
            f"FP32 {metric.name}",
            formats.score(metric.fp32, metric.unit),
            _was(before.fp32 if before else None, metric.unit),
        )
    effects = [flip.effect for flip in found.flips]
    other = effects.count("other")
    yield Tile(
        "Answers that changed",
        formats.count(len(effects)),
        f"{effects.count('worse'):,} worse, {effects.count('better'):,} better{f', {other:,} neither' if other else ''}",
    )
    if two.outputs and two.outputs[0].sqnr_db is not None:
        was = f"{formats.decibel(one.outputs[0].sqnr_db)} dB before" if one.outputs else ""
        yield Tile("Output SQNR, INT8 against FP32", f"{formats.decibel(two.outputs[0].sqnr_db)} dB", was)
    if two.latency is not None:
        was = formats.milliseconds(one.latency.int8_ms) if one.latency else ""
        yield Tile("INT8 latency of a batch", formats.milliseconds(two.latency.int8_ms), was and f"{was} before")
    if two.sizes is not None:
        was = formats.size(one.sizes.int8) if one.sizes else ""
        yield Tile("INT8 model", formats.size(two.sizes.int8), was and f"{was} before")


def _was(value: float | None, unit: str) -> str:
    return "" if value is None else f"{formats.score(value, unit)} before"


def _facts(baseline: Run, candidate: Run) -> Iterator[Fact]:
    one, two = dict(_told(baseline)), dict(_told(candidate))
    for name in dict.fromkeys((*one, *two)):
        yield Fact(name, one.get(name, formats.NOTHING), two.get(name, formats.NOTHING))


def _told(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what a run tells of itself."""
    found = run.comparison
    made = run.scales.provenance if run.scales is not None else None
    yield "Run", run.name
    if made is not None:
        yield "Model", made.model_name
    for name, text in (("Float model's digest", run.model), ("INT8 model's digest", run.int8_model)):
        if text:
            yield name, text
    for name, text in (("Target", run.target), ("Method", run.method)):
        if text:
            yield name, text
    yield "Evaluation set", f"{found.data.name} ({found.data.count:,} samples)"
    yield "Its digest", found.data.digest
    yield "Its preprocessing", _compact(found.data.preprocess)
    for data in found.chosen_on:
        yield f"Scales chosen on «{data.name}»", f"{data.count:,} samples, {data.digest}"
    yield "FP32 ran in", found.backends.fp32
    yield "INT8 ran in", found.backends.int8
    for name, version in run.versions.items():
        yield name, version


def _compact(preprocess: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(preprocess.items())) or "none declared"
