"""The steps of a job's run, in their order: each leaves artefacts in the run folder, and what is current is skipped."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.caches.words import counted
from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.comparison import Comparison
from quantlab.data.stream import Stream
from quantlab.errors import InputError, StaleError
from quantlab.graph.model import Model, load_model
from quantlab.jobs import places, remarks
from quantlab.jobs.caching import Caching, make_cache
from quantlab.jobs.calibrating import Calibrating, calibrate_scales, choose_scales
from quantlab.jobs.collecting import Collecting, collect_histograms, fitting, of_set
from quantlab.jobs.comparing import Comparing, compare_models, read_comparison
from quantlab.jobs.data_source import open_data
from quantlab.jobs.job import BEST, Job, slug
from quantlab.jobs.manifest import Recipe, file_digest, note_run, remove, run_of
from quantlab.jobs.quantizing import Quantizing, quantize_model, read_scales
from quantlab.jobs.reporting import report_run
from quantlab.jobs.run_facts import changes_of, digests_of, facts_of
from quantlab.jobs.run_result import Listener, RunResult
from quantlab.jobs.scoring import Scoring, logit_sqnr_db, score_method
from quantlab.jobs.step import Made, Progress, Remake, carry_out
from quantlab.report.run_folder import NOTES, RunNotes, write_notes
from quantlab.versions import versions
from quantlab.workers.declared import Workers

ORT_SCHEME = "affine-uint8"
"""A range that starts at 0 lets ONNX Runtime fold Relu and Clip into the quantization, and uses all 256 steps."""


class RunSteps:
    """One run: its folder, its models and what its steps have left so far."""

    def __init__(self, job: Job, listener: Listener, remake: Remake) -> None:
        self.job, self.listener, self.remake = job, listener, remake
        self.folder = job.output
        self.made: list[Made] = []
        self.model: Model = load_model(job.model)
        self.options = QuantizeOptions(job.target, job.weights, job.head)
        self.scored = job.methods  # a dry run scores one of them
        self.workers = Workers() if job.workers is None else job.workers.declared
        self.chosen = ""
        self.deciders: tuple[DataIdentity, ...] = ()
        self.built: QuantizedModel | None = None
        self._check_inputs()
        self.facts = facts_of(job, self.model, self.data)

    def carried_out(self) -> RunResult:
        """Do every step, and return what they came to.

        Raises
        ------
        QuantlabError
            What the steps raise; all that was finished by then stays.
        """
        steps, before = self.steps(), run_of(self.folder)
        for number, (title, step) in enumerate(steps, start=1):
            started = perf_counter()
            advance = self.listener.begins(number, len(steps), title)
            done = len(self.made)
            text = step(advance)
            fresh = any(made.fresh for made in self.made[done:])
            if fresh:
                note_run(self.folder, self.facts | {"data": digests_of(self.data)})
            state = "" if fresh else " (current)"
            self.listener.ended(number, len(steps), f"{text}{state}", perf_counter() - started)
        tuning, final = self._tuning(), self._read(places.COMPARISON)
        doubts = remarks.on_chance(self.model.proto, final or tuning.get(self.chosen))
        notes = dict.fromkeys((*doubts, *self._moved(before), *(note for made in self.made for note in made.notes)))
        ort = self._read(places.ORT_COMPARISON) if self.job.ort else None
        return RunResult(self.job, self.chosen, tuning, final, ort, tuple(self.made), tuple(notes))

    def _moved(self, before: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what is to be said where files of another machine or version stay."""
        changes = changes_of(before, self.facts)
        if not changes or all(made.fresh for made in self.made):
            return ()
        return (
            f"What was current in '{self.folder}' was made with others ({changes}), and its bits may differ from new ones.",
        )

    def _check_inputs(self) -> None:
        """Refuse missing data, a folder that is not ours and what another job left in it, before any work."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"The job's output '{self.folder}' is a file; name a folder.")
        self.data = {
            name: open_data(fitting(source, self.model), {}, name=name) for name, source in self.job.sources.items()
        }
        self._check_sets()
        left = places.leftovers(self.job)
        if left and self.remake == "never":
            raise StaleError(
                f"'{self.folder / left[0]}' is left from a job with other methods or parts ({len(left)} such files): give "
                "--force to remove them, or another output."
            )
        if left and self.remake != "ask":
            remove(self.folder, left)

    def _check_sets(self) -> None:
        """Refuse to score on samples that choose; `compare` would too, after all the work."""
        known = {name: data.identity for name, data in self.data.items() if not isinstance(data, Stream)}
        for name in ("calibration", "tuning") if self.job.choose == BEST else ("calibration",):
            share = known["evaluation"].overlap(known[name]) if {"evaluation", name} <= set(known) else 0.0
            if share > 0:
                raise InputError(
                    f"The evaluation set shares samples with the {name} set, about {share:.0%} of the smaller one, and that "
                    "set has a say in the scales: score on other samples."
                )

    def steps(self) -> list[tuple[str, Callable[[Progress], str]]]:
        """Return the titles of the steps that this job has, and what carries each out."""
        job = self.job
        every = [
            ("collect histograms", self._collect, True),
            ("calibrate", self._calibrate, True),
            ("score the methods", self._tune, "tuning" in job.sources),
            ("choose", self._choose, True),
            ("quantize", self._quantize, True),
            ("write the cache", self._cache, job.cache is not None),
            ("compare", self._compare, "evaluation" in job.sources),
            ("build for ONNX Runtime", self._ort, job.ort),
            ("report", self._report, True),
        ]
        return [(title, step) for title, step, wanted in every if wanted]

    def _collect(self, progress: Progress) -> str:
        job = self.job
        what = Collecting(
            job.model,
            job.sources["calibration"],
            self.folder / places.HISTOGRAMS,
            expose=job.exposed,
            targets=(job.target, "ort") if job.ort else (job.target,),
            budget=job.budget,
            nonfinite=job.nonfinite,
            workers=self.workers,
        )
        data = self.data["calibration"]
        self._keep(collect_histograms(what, data, remake=self.remake, progress=progress))
        if job.tensorrt_grid is not None:
            alone = replace(what, workers=Workers())  # its bins depend on the order of the samples
            other = of_set(alone, self._tensorrt_histograms, job.tensorrt_grid)
            self._keep(collect_histograms(other, data, remake=self.remake, progress=progress))
        return "histograms collected"

    def _calibrate(self, _progress: Progress) -> str:
        for method in self.job.methods:
            scheme = ORT_SCHEME if self.job.target == "ort" else "symmetric"
            what = self._calibrating(method, self._scales(method), scheme)
            self._keep(calibrate_scales(what, remake=self.remake))
        return f"{counted(len(self.job.methods), 'method')} calibrated"

    def _calibrating(self, method: str, output: Path, scheme: str) -> Calibrating:
        native = method.startswith("tensorrt-")
        histograms = self._tensorrt_histograms if native else self.folder / places.HISTOGRAMS
        return Calibrating(histograms, output, method, scheme, tuple(self.job.rules.items()), self.job.overrides)

    def _tune(self, progress: Progress) -> str:
        for method in self.scored:
            what = Scoring(
                self.model,
                self._scales(method),
                self.job.sources["tuning"],
                self._tuned(method),
                self.options,
                self.job.metrics,
            )
            self._keep(score_method(what, self.data["tuning"], remake=self.remake, progress=progress))
        return f"{counted(len(self.scored), 'method')} scored on the tuning set"

    def _choose(self, _progress: Progress) -> str:
        self.chosen = self.job.choose
        if self.chosen == BEST:
            scored = self._tuning()
            self.chosen = max(scored, key=lambda method: logit_sqnr_db(scored[method]))
            self.deciders = (scored[self.chosen].data,)
        self._keep(
            choose_scales(
                self._scales(self.chosen), self.folder / places.SCALES, self.chosen, self.deciders, remake=self.remake
            )
        )
        return f"{self.chosen} chosen"

    def _quantize(self, _progress: Progress) -> str:
        what = Quantizing(self.job.model, self.folder / places.SCALES, self.folder / places.MODEL, self.options)
        made, self.built = quantize_model(what, remake=self.remake)
        self._keep(made)
        return f"model for {self.job.target} built"

    def _cache(self, _progress: Progress) -> str:
        wanted = self.job.cache
        if wanted is None:
            return ""
        what = Caching(
            self.folder / places.SCALES,
            self.job.model,
            self.folder / places.CACHE,
            wanted.version,
            wanted.algorithm,
            wanted.partial,
        )
        self._keep(make_cache(what, remake=self.remake))
        return f"cache for TensorRT {wanted.version} {wanted.algorithm} written"

    def _compare(self, progress: Progress) -> str:
        what = Comparing(
            self.job.model,
            self.folder / places.MODEL,
            self.job.sources["evaluation"],
            self.folder / places.COMPARISON,
            scales=self.folder / places.SCALES,
            latency=self.job.target == "ort",
            metrics=self.job.metrics,
            workers=self.workers,
        )
        self._keep(compare_models(what, self.data["evaluation"], remake=self.remake, progress=progress))
        return "compared on the evaluation set"

    def _ort(self, progress: Progress) -> str:
        calibrated, scales = self.folder / places.ORT_CALIBRATED, self.folder / places.ORT_SCALES
        self._keep(calibrate_scales(self._calibrating(self.chosen, calibrated, ORT_SCHEME), remake=self.remake))
        self._keep(choose_scales(calibrated, scales, self.chosen, self.deciders, remake=self.remake))
        output = self.folder / places.ORT_MODEL
        options = QuantizeOptions("ort", self.job.weights, self.job.head)
        made, _ = quantize_model(Quantizing(self.job.model, scales, output, options), remake=self.remake)
        self._keep(made)
        if "evaluation" in self.job.sources:
            what = Comparing(
                self.job.model,
                output,
                self.job.sources["evaluation"],
                self.folder / places.ORT_COMPARISON,
                latency=True,
                metrics=self.job.metrics,
                workers=self.workers,
            )
            self._keep(compare_models(what, self.data["evaluation"], remake=self.remake, progress=progress))
        return "model for ort built and measured"

    def _report(self, _progress: Progress) -> str:
        # Both follow from the other artefacts alone, so what is stale of them is made anew without asking.
        remake: Remake = "stale" if self.remake == "never" else self.remake
        notes = self.folder / NOTES
        methods = {slug(method): method for method in self.job.methods}
        settings = {
            "title": self.job.name,
            "chosen": slug(self.chosen),
            "max_drop": self.job.max_drop,
            "methods": list(self.job.methods),
        }

        def recipe() -> Recipe:
            return Recipe("notes", {"INT8 model": file_digest(self.folder / places.MODEL)}, settings)

        def make() -> Mapping[str, str]:
            write_notes(
                self.folder,
                RunNotes(self.job.name, slug(self.chosen), self.job.max_drop, dict(self._floats()), methods),
            )
            return versions()

        self._keep(Made(notes, carry_out(notes, recipe, make, remake=remake)))
        self._keep(report_run(self.folder, self.folder / places.REPORT, remake=remake))
        return "report written"

    def _floats(self) -> Mapping[str, str]:
        built = self.built or quantize(self.model, read_scales(self.folder / places.SCALES), options=self.options)
        return built.floats

    def _tuning(self) -> dict[str, Comparison]:
        if "tuning" not in self.job.sources:
            return {}
        return {method: read_comparison(self._tuned(method)) for method in self.scored}

    def _read(self, name: str) -> Comparison | None:
        return read_comparison(self.folder / name) if "evaluation" in self.job.sources else None

    def _keep(self, made: Made) -> None:
        self.made.append(made)

    @property
    def _tensorrt_histograms(self) -> Path:
        return self.folder / places.TENSORRT_HISTOGRAMS

    def _scales(self, method: str) -> Path:
        return self.folder / places.scales_of(method)

    def _tuned(self, method: str) -> Path:
        return self.folder / places.tuning_of(method)
