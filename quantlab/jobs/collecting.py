"""Step: a float model and data in, histograms out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab import engines
from quantlab.collector.collect import DEFAULT_BUDGET, CollectOptions, collect
from quantlab.data import Dataset
from quantlab.engines.engine import Engine, TensorSpec
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model
from quantlab.jobs import data_source
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.step import Made, Progress, Remake, carry_out, check_output
from quantlab.numerics.tensorrt_histogram import TensorRTGrid
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.workers.declared import Workers
from quantlab.workers.ledger import SHARD
from quantlab.workers.opening import can_be_cut, divisible
from quantlab.workers.part_form import LeftOut
from quantlab.workers.shelf import Shelf
from quantlab.workers.spread import Spread

Expose: TypeAlias = Literal["quantizable", "all"] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collecting:
    """What to count, on what.

    Attributes
    ----------
    model, data
        The float network and the calibration samples.
    output
        The .h5 file.
    expose
        quantizable (what `targets` quantize, together), all, or name patterns.
    targets
        For «quantizable».
    tensorrt_grid
        The batch of TensorRT's own histogram; None counts log-linear ones.
    budget
        Bytes of exposed activations at a time; see `CollectOptions`.
    nonfinite
        refuse or count NaN and infinities.
    custom_ops
        Libraries, or Python files, with operators of the model's that ONNX Runtime lacks.
    workers
        Who counts; by default this process, which keeps what it has finished in `<output>.parts` and goes on from there.
    """

    model: Path
    data: DataSource
    output: Path
    expose: Expose = "quantizable"
    targets: tuple[str, ...] = ("tensorrt",)
    tensorrt_grid: int | None = None
    budget: int = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    custom_ops: tuple[Path, ...] = ()
    workers: Workers = field(default_factory=Workers)


def collect_histograms(
    what: Collecting, data: Dataset | None = None, *, remake: Remake = "never", progress: Progress | None = None
) -> Made:
    """Write the histograms, unless they are current; `data` is the declared set if it is open already.

    Raises
    ------
    QuantlabError
        InputError for a model, data or values that cannot be used; StaleError, UsageError as `carry_out` and
        `open_data` tell.
    """
    check_output(what.output, (".h5", ".hdf5"), what.model)
    model = load_model(what.model)
    if data is None:
        data = open_data(what.data, inputs_for(what.data, model, what.custom_ops))
    grid = None if what.tensorrt_grid is None else TensorRTGrid(what.tensorrt_grid)
    settings = CollectOptions(budget=what.budget, nonfinite=what.nonfinite, progress=progress)
    left_out: list[LeftOut] = []
    on = spread_for(
        what.workers, data, what.output, grid=grid is not None, skip_bad=what.data.skip_bad, left_out=left_out
    )

    def recipe() -> Recipe:
        samples = data_source.digests(what.data, data, order=grid is not None)
        options: dict[str, object] = {"expose": what.expose, "grid": what.tensorrt_grid, "nonfinite": what.nonfinite}
        if what.expose == "quantizable":
            options["target"] = "+".join(what.targets)
        inputs = {"model": model.digest, **samples, **operators(what.custom_ops)}
        return Recipe("collect", inputs, options | data_source.options(what.data))

    def make() -> Mapping[str, str]:
        with open_exposed(model, what) as engine:
            found = collect(engine, data, grid=grid, options=settings, on=on)
        write_histograms(what.output, found)
        return found.provenance.versions

    fresh = carry_out(what.output, recipe, make, remake=remake)
    clear_parts(what.output)
    return Made(what.output, fresh, (*notes_on(what.data, data_source.skipped(data)), *map(_told, left_out)))


def spread_for(
    workers: Workers, data: Dataset, output: Path, *, grid: bool = False, skip_bad: bool, left_out: list[LeftOut]
) -> Spread | None:
    """Return what shares the work out, or None where one pass does: few samples, or data that cannot be cut.

    Raises
    ------
    UsageError
        When workers were asked for and the data cannot be cut, or TensorRT's grid is asked for.
    """
    if workers.asked and grid:
        raise UsageError(
            "TensorRT's grid depends on the order of the samples, so one process counts it: leave --workers out."
        )
    if workers.asked:
        divisible(data)
    elif grid or not can_be_cut(data) or len(data) <= 2 * (workers.shard or SHARD):
        return None
    return workers.spread(parts_of(output), skip_bad=skip_bad, told=left_out.extend)


def parts_of(output: Path) -> Path:
    """Return the folder in which the finished parts of an output are kept until it is written."""
    return output.with_name(f"{output.name}.parts")


def clear_parts(output: Path) -> None:
    """Delete the parts of an output that is written."""
    Shelf(parts_of(output), "").clear()


def _told(sample: LeftOut) -> str:
    return f"Left out: {sample}"


def open_exposed(model: Model, what: Collecting) -> Engine:
    """Open the float model with the wanted tensors as outputs; «quantizable» for several targets is their union."""
    engine = engines.ort(model, expose=what.expose, target=what.targets[0], custom_ops=what.custom_ops)
    if what.expose != "quantizable" or len(what.targets) == 1:
        return engine
    outputs = dict.fromkeys(engine.outputs)
    for target in what.targets[1:]:
        with engines.ort(model, expose=what.expose, target=target, custom_ops=what.custom_ops) as other:
            outputs |= dict.fromkeys(other.outputs)
    with engine:
        return engine.restrict(tuple(outputs))


def operators(sources: tuple[Path, ...]) -> dict[str, str]:
    """Return the digests of files with custom operators by their role in a recipe.

    Raises
    ------
    InputError
        When one is missing.
    """
    return {f"operators in {path.name}": file_digest(path) for path in sources}


def inputs_for(source: DataSource, model: Model, custom_ops: tuple[Path, ...] = ()) -> Mapping[str, TensorSpec]:
    """Return the model's inputs where the data are to be drawn for them; nothing is opened otherwise."""
    if source.random is None:
        return {}
    with engines.ort(model, custom_ops=custom_ops) as engine:
        return dict(engine.inputs)


def fitting(source: DataSource, model: Model) -> DataSource:
    """Return the source in batches of the model's size, where the model has a fixed one."""
    stored = {tensor.name for tensor in model.proto.graph.initializer}
    shapes = [i.type.tensor_type.shape.dim for i in model.proto.graph.input if i.name not in stored]
    fixed = {shape[0].dim_value for shape in shapes if len(shape) > 0}
    return replace(source, batch=fixed.pop()) if len(fixed) == 1 and 0 not in fixed else source


def notes_on(source: DataSource, skipped: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the user should know of the data."""
    notes = []
    if source.random is not None:
        notes.append(f"The samples are {source.random} random ones, no data: the artefact says so for ever.")
    if skipped:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        notes.append(f"{len(skipped)} images could not be read and were left out: {', '.join(skipped[:3])}{more}.")
    return tuple(notes)


def of_set(what: Collecting, output: Path, batch: int) -> Collecting:
    """Return the same collection on TensorRT's grid, into another file."""
    return replace(what, output=output, tensorrt_grid=batch)
