"""What a job would take: seconds, memory and disk of each step, from runs on a few samples in a temporary folder."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from quantlab.errors import InputError
from quantlab.jobs.first_samples import FirstSamples, count_of
from quantlab.jobs.job import EXPORTED, Job
from quantlab.jobs.peak_memory import forget_peak, peak_bytes
from quantlab.jobs.run_steps import RunSteps
from quantlab.jobs.step import Progress

FEW = 32
"""Samples of each set in the first trial, which also loads code, as the run will."""

SIZES = (128, 512)
"""Samples of each set in the trials whose difference tells what a sample costs; few would tell more of other programs."""

_PATIENCE = 30.0
"""Seconds of a trial after which the next one takes no more than twice the samples."""

_SCORING = "score the methods"
_SETS = ("calibration", "tuning", "evaluation")
_RUNS_OVER: Mapping[str, str] = {
    "collect histograms": "calibration",
    _SCORING: "tuning",
    "compare": "evaluation",
    "build for ONNX Runtime": "evaluation",
}
_TELLS_OF: Mapping[str, int] = {
    "collect histograms": 1,
    "calibrate": 1,
    "compare": 3,
    "build for ONNX Runtime": 3,
    "report": 3,
}
"""Of so many sets a step's files tell, sample by sample; where it is not said, of the first two."""


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """What one step is going to take.

    Attributes
    ----------
    seconds
        Of wall time, on this machine as busy as it is now.
    memory
        Largest resident size of the process, bytes; None where the system does not tell.
    disk
        Bytes of the files that it leaves.
    samples
        That it runs over; None if their number does not matter to it.
    current
        It is done already, so nothing of this will be taken.
    """

    title: str
    seconds: float
    memory: int | None
    disk: int
    samples: int | None = None
    current: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job is going to take; the figures of its steps are estimates, and so are their sums."""

    steps: tuple[StepEstimate, ...]

    @property
    def seconds(self) -> float:
        """Of all steps that are not current."""
        return sum(step.seconds for step in self.steps if not step.current)

    @property
    def memory(self) -> int | None:
        """The largest of the steps', in bytes."""
        return max((step.memory for step in self.steps if step.memory and not step.current), default=None)

    @property
    def disk(self) -> int:
        """Bytes of all that is to be written."""
        return sum(step.disk for step in self.steps if not step.current)


@dataclass(slots=True)
class Recorder:
    """A listener that keeps each step's seconds, peak of memory, and the bytes of the files that it left in a folder."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)
    disk: dict[str, int] = field(default_factory=dict)
    _title: str = ""
    _seen: frozenset[Path] = frozenset()

    def begins(self, _number: int, _total: int, title: str) -> Progress:
        """Measure from here on."""
        self._title = title
        forget_peak()
        return lambda _done, _samples: None

    def ended(self, _number: int, _total: int, _text: str, seconds: float) -> None:
        """Keep what the step took."""
        self.seconds[self._title], self.memory[self._title] = seconds, peak_bytes()
        files = frozenset(path for path in self.folder.rglob("*") if path.is_file())
        self.disk[self._title] = sum(path.stat().st_size for path in files - self._seen)
        self._seen = files


def _unheard(_samples: int) -> None:
    return


def estimate(job: Job, current: Sequence[str] = (), *, tell: Callable[[int], None] = _unheard) -> Estimate:
    """Return what a job would take.

    The job is carried out on its first samples in a temporary folder that is removed: on 32 of each set, then on 128 and on
    512, or fewer where these take long or there are no more; what the first trial takes above the line through the others is
    loading code, once a process. Only the first method is scored, as all take the same. Nothing of it is kept. Workers are
    not taken into account: the times are those of one process.

    Parameters
    ----------
    current
        Titles of the steps that are done already.
    tell
        Told before each trial how many samples of each set it takes.

    Raises
    ------
    QuantlabError
        What the steps raise on these samples; InputError for a module that was not exported yet.
    """
    if job.model == job.output / EXPORTED and not job.model.exists():
        raise InputError(
            f"There is no model '{job.model}' yet, so there is nothing to measure: run `quantlab qat` first."
        )
    tell(FEW)
    trials = [_tried(job, FEW)]
    most = max(trials[0].counts.values())
    for size in SIZES if trials[0].total < _PATIENCE else (2 * FEW,):
        if most > trials[-1].samples and (len(trials) == 1 or trials[-1].total < _PATIENCE):
            tell(size)
            trials.append(_tried(job, size))
    return Estimate(
        tuple(_step(title, trials, len(job.methods), title in current) for title in trials[0].recorder.seconds)
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the job took on so many of the first samples, and how many its sets have."""

    samples: int
    recorder: Recorder
    counts: Mapping[str, int]

    @property
    def total(self) -> float:
        return sum(self.recorder.seconds.values())


def _tried(job: Job, samples: int) -> _Trial:
    """Carry the job out on the first samples of each set."""
    with tempfile.TemporaryDirectory(prefix="quantlab-") as folder:
        changed = {"output": Path(folder) / "run", "metrics": _metrics(job), "max_drop": None, "workers": None}
        small = job.model_copy(update=changed)
        small._sources = {name: replace(source, labels=None) for name, source in job.sources.items()}
        recorder = Recorder(Path(folder))
        run = RunSteps(small, recorder, "never")
        counts = {name: count_of(data) for name, data in run.data.items()}
        run.data = {name: FirstSamples(data, samples, name) for name, data in run.data.items()}
        run.scored = job.methods[:1]
        run.carried_out()
    return _Trial(samples, recorder, counts)


def _metrics(job: Job) -> tuple[str, ...]:
    """Return the job's metrics, but for those that need a file of labels: it has as many as the whole set."""
    return () if any(source.labels is not None for source in job.sources.values()) else job.metrics


def _step(title: str, trials: Sequence[_Trial], methods: int, current: bool) -> StepEstimate:
    samples = trials[0].counts.get(_RUNS_OVER.get(title, ""))
    times = methods if title == _SCORING else 1
    seconds = times * _seconds(title, trials, samples) + _loading(title, trials, samples)
    named = [trials[0].counts.get(name, 0) for name in _SETS[: _TELLS_OF.get(title, 2)]]
    disk = times * _through(
        trials[-2:], lambda t: sum(min(t.samples, n) for n in named), lambda t: t.recorder.disk[title], sum(named)
    )
    known = [peak for trial in trials if (peak := trial.recorder.memory[title]) is not None]
    return StepEstimate(title, seconds, max(known, default=None), round(disk), samples, current)


def _seconds(title: str, trials: Sequence[_Trial], at: int | None) -> float:
    """Return the seconds on so many samples; None: their number does not matter."""
    if at is None:
        return min(trial.recorder.seconds[title] for trial in trials[-2:])
    return _through(
        trials[-2:], lambda t: min(t.samples, t.counts[_RUNS_OVER[title]]), lambda t: t.recorder.seconds[title], at
    )


def _loading(title: str, trials: Sequence[_Trial], samples: int | None) -> float:
    """Return what the first trial took longer than so few samples take."""
    few = None if samples is None else min(FEW, samples)
    return max(0.0, trials[0].recorder.seconds[title] - _seconds(title, trials, few))


def _through(
    trials: Sequence[_Trial], size: Callable[[_Trial], int], value: Callable[[_Trial], float], at: int
) -> float:
    one, two = trials[0], trials[-1]
    return _line((size(one), size(two)), (value(one), value(two)), at)


def _line(sizes: tuple[int, int], values: tuple[float, float], at: int) -> float:
    """Return the value at a size on the line through two of them; a line that falls is taken for flat."""
    if sizes[0] == sizes[1]:
        return values[1]
    slope = max(0.0, (values[1] - values[0]) / (sizes[1] - sizes[0]))
    return values[1] + slope * (at - sizes[1])
