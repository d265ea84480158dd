"""Step: the float model, the INT8 model and labelled data in, a comparison out."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab import engines
from quantlab.builder import check_model, provenance_of
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import CompareOptions, Comparison, Sizes, compare
from quantlab.comparison.latency import measure_latency
from quantlab.comparison.sample_file import samples_path, write_samples
from quantlab.data import Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, UsageError
from quantlab.graph.metadata import METADATA_KEY
from quantlab.graph.model import Model, load_model
from quantlab.graph.stored_tensors import stored_bytes
from quantlab.jobs import data_source, remarks
from quantlab.jobs.checks import check_forms, check_scales
from quantlab.jobs.collecting import clear_parts, fitting, inputs_for, notes_on, operators, spread_for
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.metric_choice import chosen_metrics, labels_of
from quantlab.jobs.metric_choice import options as metric_options
from quantlab.jobs.quantizing import read_scales
from quantlab.jobs.step import Made, Progress, Remake, carry_out, check_output
from quantlab.jobs.tensor_probe import open_probe, quantized_tensors
from quantlab.storage.text import read_text, write_text
from quantlab.versions import versions
from quantlab.workers.declared import Workers
from quantlab.workers.part_form import LeftOut
from quantlab.workers.spread import Spread

Mode: TypeAlias = Literal["simulate", "optimize"]
"""simulate: the arithmetic of TensorRT's INT8 kernels; optimize: ONNX Runtime's own integer kernels."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """What to compare, on what.

    Attributes
    ----------
    fp32, int8, data
        The two models and the samples.
    output
        The .json file.
    scales
        For the error of each tensor; None leaves these out.
    mode
        How the INT8 model runs; None: simulate, but optimize for a model made for the target ort.
    final
        The score is the last word: data that had a say in the scales are refused.
    latency
        Also time both models.
    top
        The k of each top-k score.
    labels
        False: leave labels out, and with them the scores.
    custom_ops
        Libraries, or Python files, with operators of the models' that ONNX Runtime lacks.
    metrics
        Names of what to score by, as `parse_metric` takes them; () is top-k where the data have labels.
    workers
        Who compares; by default this process, which keeps what it has finished in `<output>.parts` and goes on from there.
    """

    fp32: Path
    int8: Path
    data: DataSource
    output: Path
    scales: Path | None = None
    mode: Mode | None = None
    final: bool = True
    latency: bool = False
    top: tuple[int, ...] = (1, 5)
    labels: bool = True
    custom_ops: tuple[Path, ...] = ()
    metrics: tuple[str, ...] = ()
    workers: Workers = field(default_factory=Workers)


def compare_models(
    what: Comparing, data: Dataset | None = None, *, remake: Remake = "never", progress: Progress | None = None
) -> Made:
    """Write the comparison, and beside it every sample's results, unless both are current.

    `data` is the declared set if it is open already.

    Raises
    ------
    QuantlabError
        InputError for models or data that cannot be used, or data that had a say in a final score; StaleError for an
        INT8 model that was made from another float model or other scales, or as `carry_out` tells; UsageError for the
        latency of a simulation.
    """
    beside = samples_path(what.output)
    check_output(what.output, (".json",), what.fp32, what.int8, what.scales)
    check_output(beside, (".h5",), Path(what.data.place) if what.data.place else None)
    fp32, int8 = load_model(what.fp32), load_model(what.int8)
    check_forms(fp32, int8)
    check_model(provenance_of(int8), fp32)
    mode = what.mode or mode_for(int8)
    if what.latency and mode == "simulate":
        raise UsageError("The latency of a simulation says nothing of INT8: give --optimize, or leave --latency out.")
    source = fitting(what.data, fp32)
    samples = open_data(source, inputs_for(source, fp32, what.custom_ops)) if data is None else data
    table = None if what.scales is None else _table(what.scales, fp32, int8)

    def recipe() -> Recipe:
        inputs = {"FP32 model": fp32.digest, "INT8 model": _whole_digest(int8, what.int8)}
        if what.scales is not None:
            inputs["scales"] = file_digest(what.scales)
        options = {"mode": mode, "final": what.final, "latency": what.latency, "top": what.top, "labels": what.labels}
        return Recipe(
            "compare",
            inputs | data_source.digests(what.data, samples, labels=what.labels) | operators(what.custom_ops),
            options | metric_options(what.metrics) | data_source.options(what.data),
        )

    left_out: list[LeftOut] = []
    on = spread_for(what.workers, samples, what.output, skip_bad=what.data.skip_bad, left_out=left_out)

    def make() -> Mapping[str, str]:
        found = _with_samples(what.output, _compared(what, (fp32, int8), table, samples, mode, (progress, on)))
        write_text(what.output, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
        return versions(found.backends.int8)

    fresh = carry_out(what.output, recipe, make, remake=remake, beside=(beside,))
    clear_parts(what.output)
    notes = (*notes_on(what.data, data_source.skipped(samples)), *_remarks(read_comparison(what.output), what))
    notes = (*notes, *(f"Left out: {sample}" for sample in left_out))
    return Made(what.output, fresh, notes)


def read_comparison(path: Path) -> Comparison:
    """Return the comparison in a file.

    Raises
    ------
    InputError
        When the file is missing, damaged or something else, naming it.
    """
    text = read_text(path, "a comparison")
    try:
        return Comparison.from_json(text)
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error


def open_int8(model: Path | Model, mode: Mode, custom_ops: tuple[Path, ...] = ()) -> Engine:
    """Open an INT8 model as ONNX Runtime runs it, or as TensorRT would."""
    if mode == "optimize":
        return engines.ort(model, custom_ops=custom_ops)
    return engines.simulation(model, custom_ops=custom_ops)


def mode_for(int8: Model) -> Mode:
    """Return how a Q/DQ model is to run: as what it was made for; anyone else's is taken to be for TensorRT."""
    return "optimize" if target_of(int8) == "ort" else "simulate"


def target_of(model: Model) -> str | None:
    """Return the target that a Q/DQ model was made for; None if it does not tell."""
    for entry in model.proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                found = json.loads(entry.value)
            except (ValueError, RecursionError):
                return None
            target = found.get("target") if isinstance(found, dict) else None
            return target if isinstance(target, str) else None
    return None


def model_bytes(model: Model, path: Path) -> int:
    """Return the bytes of a model's file, external data among them."""
    size = path.stat().st_size
    weights = sum(stored_bytes(tensor) for tensor in model.proto.graph.initializer)
    return size if size >= weights else size + weights


def _remarks(found: Comparison, what: Comparing) -> Iterator[str]:
    if not found.chosen_on and what.final:
        yield "The INT8 model does not tell which data chose its scales, so nobody checked that they were others."
    yield from remarks.on_sets(found.chosen_on)
    yield from remarks.on_preprocessing(found.data, found.chosen_on)


def _table(path: Path, fp32: Model, int8: Model) -> ScaleTable:
    table = read_scales(path, fp32)
    check_model(table.provenance, fp32)
    check_scales(table, int8, quantized_tensors(fp32, int8, table))
    return table


def _with_samples(output: Path, found: Comparison) -> Comparison:
    """Write every sample's results, and return the comparison that names them."""
    if found.samples_table is None:
        return found
    return replace(found, samples_file=write_samples(output, found.samples_table))


def _compared(
    what: Comparing,
    models: tuple[Model, Model],
    table: ScaleTable | None,
    data: Dataset,
    mode: Mode,
    how: tuple[Progress | None, Spread | None],
) -> Comparison:
    fp32, int8 = models
    progress, on = how
    provenance = provenance_of(int8)
    with ExitStack() as opened:
        one = opened.enter_context(engines.ort(fp32, custom_ops=what.custom_ops))
        two = opened.enter_context(open_int8(int8, mode, what.custom_ops))
        probe = None if table is None else open_probe(fp32, int8, table, what.custom_ops, opened)
        found = compare(
            one,
            two,
            data,
            metrics=chosen_metrics(what.metrics, data, what.top, model=fp32, labels=what.labels),
            chosen_on=provenance.chosen_on if provenance else (),
            options=CompareOptions(
                final=what.final,
                labels=labels_of(what.data, what.metrics) if what.labels else None,
                probe=probe,
                progress=progress,
                on=on,
            ),
        )
        found = replace(found, sizes=Sizes(model_bytes(fp32, what.fp32), model_bytes(int8, what.int8)))
        if what.latency:
            found = replace(found, latency=measure_latency(one, two, next(iter(data))))
    return found


def _whole_digest(model: Model, path: Path) -> str:
    """Return a digest of what a model computes and of its file, whose metadata say which data chose the scales."""
    return f"sha256:{sha256(f'{model.digest} {file_digest(path)}'.encode()).hexdigest()}"
