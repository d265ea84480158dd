"""Carries out a training job: PTQ, better PTQ, quantization-aware training, each only where the one before falls short."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

from quantlab import engines
from quantlab.builder import QuantizeOptions
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.finality import check_unseen
from quantlab.data.stream import Stream
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs import places
from quantlab.jobs.calibrating import Calibrating, calibrate_scales
from quantlab.jobs.collecting import Collecting, collect_histograms
from quantlab.jobs.comparing import mode_for, open_int8, read_comparison
from quantlab.jobs.data_source import open_data
from quantlab.jobs.data_source import options as declared
from quantlab.jobs.job import BEST, Job
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.metric_choice import metrics_for
from quantlab.jobs.output_lock import working_in
from quantlab.jobs.quantizing import Quantizing, quantize_model
from quantlab.jobs.reporting import report_run
from quantlab.jobs.run_result import Listener
from quantlab.jobs.step import Made, Progress, Remake, carry_out
from quantlab.jobs.training_result import Hooks, Rung, RungName, TrainingResult, read_seconds
from quantlab.jobs.training_section import TrainingSection
from quantlab.jobs.training_steps import (
    FLOAT,
    HISTOGRAMS,
    PTQ,
    QAT,
    SCALES,
    SECONDS,
    TUNED,
    Sets,
    export_float,
    search_better,
    train_module,
)
from quantlab.qat.missing import require_torch
from quantlab.storage.text import write_text
from quantlab.tuning.score import Score
from quantlab.tuning.target import Target
from quantlab.versions import versions

FOLDER = "qat"
_FILES: Mapping[RungName, str] = {"PTQ": PTQ, "tuned PTQ": TUNED, "QAT": QAT}
_PREFERRED = "squared-error"


def train_job(job: Job, *, listener: Listener, hooks: Hooks | None = None, force: bool = False) -> TrainingResult:
    """Climb from PTQ to quantization-aware training, as far as the job's `max_drop` asks for.

    Everything is put into the folder `qat` of the job's output; what is current there is not done again.

    Parameters
    ----------
    job
        With a section `qat`.
    listener, hooks
        Told about every step, and about what goes on in the long ones.
    force
        As for `run_job`.

    Raises
    ------
    UsageError
        When the job has no such section.
    MachineError
        When there is no torch.
    QuantlabError
        What the steps raise; all that was finished by then stays.
    """
    if job.qat is None:
        raise UsageError(f"The job «{job.name}» has no section `qat`, which names the PyTorch module to train.")
    require_torch()
    with working_in(job.output):
        return _Climb(job, job.qat, listener, hooks or Hooks(), "changed" if force else "never").carried_out()


def export_model(job: Job, *, force: bool = False) -> Made:
    """Write the job's float model from its module, unless it is current.

    Raises
    ------
    QuantlabError
        As `train_job`.
    """
    if job.qat is None:
        raise UsageError(f"The job «{job.name}» has no section `qat`, which names the PyTorch module to export.")
    require_torch()
    return export_float(job, job.qat, _sets(job), job.output / FOLDER, remake="changed" if force else "never")


def _sets(job: Job) -> Sets:
    return Sets(job.sources, {name: open_data(source, {}, name=name) for name, source in job.sources.items()})


class _Climb:
    """One job on its way: its data, its folder, and the rungs so far."""

    def __init__(self, job: Job, section: TrainingSection, listener: Listener, hooks: Hooks, remake: Remake) -> None:
        self.job, self.section, self.listener, self.hooks, self.remake = job, section, listener, hooks, remake
        self.folder = job.output / FOLDER
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"The place for training, '{self.folder}', is a file; name another output.")
        self.target = Target(job.max_drop)
        self.sets = _sets(job)
        self._check_sets()
        self.made: list[Made] = []
        self.rungs: list[Rung] = []

    def carried_out(self) -> TrainingResult:
        """Do every step that is needed, and return what they came to."""
        steps: list[tuple[str, Callable[[Progress], str]]] = [
            ("export the module", self._export),
            ("calibrate and quantize", self._ptq),
            *([("search for better PTQ", self._tune)] if self.section.tune or self.section.from_tuned else []),
            ("train", self._train),
            ("report", self._report),
        ]
        for number, (title, step) in enumerate(steps, start=1):
            started, before = perf_counter(), len(self.made)
            text = step(self.listener.begins(number, len(steps), title))
            fresh = any(made.fresh for made in self.made[before:])
            state = "" if fresh or len(self.made) == before else " (current)"
            self.listener.ended(number, len(steps), f"{text}{state}", perf_counter() - started)
        return self._result()

    def _check_sets(self) -> None:
        """Refuse, before any work, to score on samples that choose or teach."""
        known = {name: data.identity for name, data in self.sets.opened.items() if not isinstance(data, Stream)}
        if "evaluation" in known:
            check_unseen(known["evaluation"], tuple(found for name, found in known.items() if name != "evaluation"))

    def _export(self, _progress: Progress) -> str:
        self.made.append(export_float(self.job, self.section, self.sets, self.folder, remake=self.remake))
        return "module exported"

    def _ptq(self, progress: Progress) -> str:
        started, before, job = perf_counter(), len(self.made), self.job
        histograms, scales = self.folder / HISTOGRAMS, self.folder / SCALES
        counting = Collecting(
            self.folder / FLOAT,
            job.sources["calibration"],
            histograms,
            targets=(job.target,),
            budget=job.budget,
            nonfinite=job.nonfinite,
        )
        data = self.sets.opened["calibration"]
        self.made.append(collect_histograms(counting, data, remake=self.remake, progress=progress))
        method = _PREFERRED if job.choose == BEST else job.choose
        calibrating = Calibrating(histograms, scales, method, rules=tuple(job.rules.items()), overrides=job.overrides)
        self.made.append(calibrate_scales(calibrating, remake=self.remake))
        options = QuantizeOptions(job.target, job.weights, job.head)
        made, _ = quantize_model(
            Quantizing(self.folder / FLOAT, scales, self.folder / PTQ, options), remake=self.remake
        )
        self.made.append(made)
        return self._scored("PTQ", perf_counter() - started, before, progress)

    def _tune(self, progress: Progress) -> str:
        trains = self.section.when == "always" and self.section.from_tuned
        if self._is_enough and not trains:
            return "no better PTQ is needed"
        started, before = perf_counter(), len(self.made)
        arguments = (self.job, self.section, self.sets, self.folder)
        self.made.append(search_better(*arguments, remake=self.remake, hooks=self.hooks))
        return self._scored("tuned PTQ", perf_counter() - started, before, progress)

    def _train(self, progress: Progress) -> str:
        if self._is_enough and self.section.when == "needed":
            return "no training is needed"
        started, before = perf_counter(), len(self.made)
        arguments = (self.job, self.section, self.sets, self.folder)
        self.made.append(train_module(*arguments, remake=self.remake, hooks=self.hooks))
        return self._scored("QAT", perf_counter() - started, before, progress)

    @property
    def _is_enough(self) -> bool:
        return any(rung.is_enough for rung in self.rungs)

    def _scored(self, name: RungName, seconds: float, before: int, progress: Progress) -> str:
        """Measure a rung on the evaluation set, and keep what it took if it was made now."""
        times = read_seconds(self.folder / SECONDS)
        if name not in times or any(made.fresh for made in self.made[before:]):
            times[name] = seconds
            write_text(self.folder / SECONDS, json.dumps(times, indent=1) + "\n")
        model, output = self.folder / _FILES[name], self.folder / f"compare.{name.replace(' ', '-').lower()}.json"
        self.made.append(self._compared(model, output, progress))
        score = Score.of(read_comparison(output), None, 0.0)
        if score.drop is None:
            raise UsageError(
                "No output of the network can be told to hold class scores [samples, classes], so no drop in points can be "
                "measured, which decides whether to train."
            )
        standing = "undecided" if self.target.undecided(score) else self.target.judged(score)
        self.rungs.append(Rung(name, model, score, standing, times[name]))
        return f"{name}: {score.drop:+.2f} points, {standing}"

    def _compared(self, model: Path, output: Path, progress: Progress) -> Made:
        """Write the comparison of a Q/DQ model with the float one; training data must not be among the samples."""
        source, data = self.job.sources["evaluation"], self.sets.opened["evaluation"]
        fp32, int8 = load_model(self.folder / FLOAT), load_model(model)

        def recipe() -> Recipe:
            inputs = {"FP32 model": fp32.digest, "INT8 model": file_digest(model), **self.sets.digests("evaluation")}
            return Recipe("compare", inputs, declared(source))

        def make() -> Mapping[str, str]:
            used = [self.sets.opened[name].identity for name in self.sets.opened if name != "evaluation"]
            with engines.ort(fp32) as one, open_int8(int8, mode_for(int8)) as two:
                options = CompareOptions(level=self.target.confidence, progress=progress)
                found = compare(one, two, data, metrics=metrics_for(data, (1,)), chosen_on=used, options=options)
            write_text(output, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
            return versions(found.backends.int8)

        return Made(output, carry_out(output, recipe, make, remake=self.remake))

    def _report(self, _progress: Progress) -> str:
        result = self._result()

        def recipe() -> Recipe:
            return Recipe(
                "training report", {rung.name: file_digest(rung.model) for rung in result.rungs}, result.to_json()
            )

        def make() -> Mapping[str, str]:
            text = json.dumps(result.to_json(), ensure_ascii=False, indent=1)
            write_text(result.report, text + "\n")
            return versions()

        # It follows from the other artefacts alone, so a stale one is made anew without asking.
        remake: Remake = "stale" if self.remake == "never" else self.remake
        self.made.append(Made(result.report, carry_out(result.report, recipe, make, remake=remake)))
        page = self.job.output / places.REPORT
        if page.exists():  # `run` wrote it before there was anything of the training
            self.made.append(report_run(self.job.output, page, remake=remake))
        return "report written"

    def _result(self) -> TrainingResult:
        notes = tuple(dict.fromkeys(note for made in self.made for note in made.notes))
        return TrainingResult(self.folder, self.target, tuple(self.rungs), tuple(self.made), notes)
