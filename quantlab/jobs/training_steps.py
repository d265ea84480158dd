"""Steps of a training job: export the module, search for better PTQ, train; each writes its files once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.builder import QuantizeOptions
from quantlab.data import Dataset
from quantlab.errors import InputError, StaleError
from quantlab.graph.model import load_model, write_model
from quantlab.jobs import data_source
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.job import Job
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.quantizing import read_scales
from quantlab.jobs.step import Made, Remake, carry_out
from quantlab.jobs.training_result import Hooks
from quantlab.jobs.training_section import TrainingSection
from quantlab.report.searched import read_search
from quantlab.storage.files import save
from quantlab.storage.text import write_text
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.target import Target
from quantlab.tuning.tune import TuneOptions, tune
from quantlab.versions import versions

if TYPE_CHECKING:
    from quantlab.qat.distillation import Distillation
    from quantlab.qat.fine_tuning import FineTuning

FLOAT, HISTOGRAMS, SCALES, PTQ = "float.onnx", "histograms.h5", "scales.json", "ptq.qdq.onnx"
TUNED, TUNED_FLOAT, TUNED_SCALES, TUNED_SEARCH = (
    "tuned.qdq.onnx",
    "tuned.float.onnx",
    "tuned.scales.json",
    "tuned.json",
)
QAT, QAT_FLOAT, QAT_SCALES, QAT_STATE, QAT_COURSE = (
    "qat.qdq.onnx",
    "qat.float.onnx",
    "qat.scales.json",
    "qat.pt",
    "qat.json",
)
SEARCH, CHECKPOINTS, SECONDS = "search", "checkpoints", "seconds.json"


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """A job's data, declared and opened, by name: calibration, train, evaluation, and tuning if there is one."""

    sources: Mapping[str, DataSource]
    opened: Mapping[str, Dataset]

    @property
    def judge(self) -> str:
        """The set that trials are measured on."""
        return "tuning" if "tuning" in self.opened else "calibration"

    def digests(self, name: str, *, order: bool = False) -> dict[str, str]:
        """Return what a set is, as inputs of a recipe."""
        found = data_source.digests(self.sources[name], self.opened[name], labels=True, order=order)
        return {f"{name}: {role}": digest for role, digest in found.items()}


def export_float(job: Job, section: TrainingSection, sets: Sets, folder: Path, *, remake: Remake) -> Made:
    """Write the float model, unless it is current.

    Raises
    ------
    QuantlabError
        As `read_module` and `quantlab.qat.onnx_export.export`.
    """
    path = folder / FLOAT

    def make() -> Mapping[str, str]:
        from quantlab.qat.fine_tuning import example_of
        from quantlab.qat.module_file import read_module
        from quantlab.qat.onnx_export import ExportOptions, export

        module = read_module(section.file, section.function, section.weights)
        example = example_of(module, next(iter(sets.opened["calibration"])))
        options = ExportOptions(section.opset, exporter=section.exporter, inputs=example.names)
        export(module, example.tensors, path, options=options)
        return versions()

    recipe = Recipe(
        "export", _module_inputs(section), section.exporting | data_source.options(job.sources["calibration"])
    )
    return Made(path, carry_out(path, lambda: recipe, make, remake=remake))


def search_better(
    job: Job, section: TrainingSection, sets: Sets, folder: Path, *, remake: Remake, hooks: Hooks
) -> Made:
    """Write the best that PTQ reaches, unless it is current; a search that was stopped goes on.

    Raises
    ------
    QuantlabError
        As `tune`.
    """
    path = folder / TUNED
    target = Target(job.max_drop)

    def recipe() -> Recipe:
        inputs = {"model": load_model(folder / FLOAT).digest, **sets.digests("calibration"), **sets.digests(sets.judge)}
        asked = {"max_drop": job.max_drop, "samples": section.samples}
        return Recipe("tune", inputs, asked | _form(job) | data_source.options(job.sources["calibration"]))

    def make(fresh: bool = False) -> Mapping[str, str]:
        options = TuneOptions(
            quantize=QuantizeOptions(job.target, job.weights, job.head),
            samples=section.samples,
            folder=folder / SEARCH,
            fresh=fresh,
            on_trial=hooks.trial,
            watch=hooks.watch,
        )
        calibration, tuning = sets.opened["calibration"], sets.opened[sets.judge]
        found = tune(load_model(folder / FLOAT), calibration, tuning=tuning, target=target, options=options)
        write_model(found.candidate.model, folder / TUNED_FLOAT)
        save(found.table, folder / TUNED_SCALES)
        write_text(folder / TUNED_SEARCH, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
        write_model(found.quantized().model, path)
        return versions()

    beside = (folder / TUNED_FLOAT, folder / TUNED_SCALES, folder / TUNED_SEARCH)
    return Made(path, carry_out(path, recipe, _afresh(make, remake), remake=_whole(path, beside, remake)))


def train_module(job: Job, section: TrainingSection, sets: Sets, folder: Path, *, remake: Remake, hooks: Hooks) -> Made:
    """Write the trained Q/DQ model, unless it is current; a training that was stopped goes on from its checkpoint.

    Raises
    ------
    QuantlabError
        As `read_module`, `prepare`, `train` and `export`.
    """
    paths = tuple(folder / name for name in (QAT, QAT_FLOAT, QAT_SCALES, QAT_STATE, QAT_COURSE))
    scales, model = _start(section, folder)

    def recipe() -> Recipe:
        inputs = _module_inputs(section) | _function_inputs(section) | sets.digests("train", order=True)
        inputs |= {"start": load_model(model).digest, "scales": file_digest(scales)}
        if "tuning" in sets.opened:
            inputs |= sets.digests("tuning")
        return Recipe("qat", inputs, section.training | _form(job) | data_source.options(job.sources["train"]))

    def make(fresh: bool = False) -> Mapping[str, str]:
        from quantlab.qat.fine_tuning import TrainedFiles, fine_tune

        what = _fine_tuning(job, section, sets, folder, fresh=fresh)
        fine_tune(what, sets.opened["train"], sets.opened.get("tuning"), TrainedFiles(*paths), learnt=hooks.learnt)
        return versions()

    beside = paths[1:]
    return Made(paths[0], carry_out(paths[0], recipe, _afresh(make, remake), remake=_whole(paths[0], beside, remake)))


def _fine_tuning(job: Job, section: TrainingSection, sets: Sets, folder: Path, *, fresh: bool) -> FineTuning:
    from quantlab.qat.fine_tuning import FineTuning, example_of
    from quantlab.qat.module_file import read_function, read_module
    from quantlab.qat.prepare_options import PrepareOptions
    from quantlab.qat.train_options import Schedule, TrainOptions

    module = read_module(section.file, section.function, section.weights)
    example = example_of(module, next(iter(sets.opened["calibration"])))
    prepare = PrepareOptions(
        job.target,
        job.head,
        gradient=section.gradient,
        batch_norm=section.batch_norm,
        exporter=section.exporter,
        opset=section.opset,
        inputs=example.names,
    )
    train = TrainOptions(
        epochs=section.epochs,
        steps=section.steps,
        batch=section.batch,
        schedule=Schedule(section.optimizer, section.rate, section.scale_rate, section.weight_decay),
        precision=section.precision,
        ema=section.ema,
        augment=read_function(*section.located(section.augment)) if section.augment else None,
        distillation=_distillation(section),
        patience=section.patience,
        evaluate_every=section.evaluate_every,
        keep=section.keep if "tuning" in sets.opened else "last",
        seed=section.seed,
        folder=folder / CHECKPOINTS,
        checkpoint_every=section.checkpoint_every,
        fresh=fresh,
    )
    loss = read_function(*section.located(section.loss)) if section.loss else None
    return FineTuning(module, example, _candidate(job, section, folder), prepare, train, job.weights, loss)


def _distillation(section: TrainingSection) -> Distillation | None:
    from quantlab.qat.distillation import Distillation

    if isinstance(section.distil, bool):
        return Distillation() if section.distil else None
    return Distillation(**section.distil.model_dump())


def _candidate(job: Job, section: TrainingSection, folder: Path) -> Candidate:
    scales, model = _start(section, folder)
    floats: tuple[str, ...] = ()
    if section.from_tuned:
        floats = tuple(read_search(folder / TUNED_SEARCH).keep_float)
    options = QuantizeOptions(job.target, job.weights, job.head, keep_float=floats)
    return Candidate(load_model(model), read_scales(scales), options)


def _start(section: TrainingSection, folder: Path) -> tuple[Path, Path]:
    """Return the scales from which training starts, and their float model."""
    names = (TUNED_SCALES, TUNED_FLOAT) if section.from_tuned else (SCALES, FLOAT)
    return folder / names[0], folder / names[1]


def _module_inputs(section: TrainingSection) -> dict[str, str]:
    for path, what in ((section.file, "that builds the module"), (section.weights, "with the module's weights")):
        if path is not None and not path.is_file():
            raise InputError(f"There is no file '{path}' {what}.")
    weights = {} if section.weights is None else {"state dict": file_digest(section.weights)}
    return {"module": file_digest(section.file), **weights}


def _function_inputs(section: TrainingSection) -> dict[str, str]:
    named = {"augment": section.augment, "loss": section.loss}
    return {role: file_digest(section.located(text)[0]) for role, text in named.items() if text is not None}


def _form(job: Job) -> dict[str, object]:
    return {"target": job.target, "weights": job.weights, "head": job.head}


def _whole(path: Path, beside: tuple[Path, ...], remake: Remake) -> Remake:
    """Make all files of a step anew where one beside the recorded file is gone."""
    return "always" if path.exists() and not all(other.exists() for other in beside) else remake


def _afresh(make: Callable[..., Mapping[str, str]], remake: Remake) -> Callable[[], Mapping[str, str]]:
    """Let a step begin again, instead of going on, where what it left belongs to something else and may be replaced."""

    def made() -> Mapping[str, str]:
        if remake != "never":
            with suppress(StaleError):
                return make()
            return make(fresh=True)
        return make()

    return made
