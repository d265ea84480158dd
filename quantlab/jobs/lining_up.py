"""Step: a float model, several engines and labelled data in, their table out; or a three-way check of one road."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from quantlab import engines
from quantlab.comparison.comparison import CompareOptions
from quantlab.comparison.gpu_cost import measured_cost
from quantlab.comparison.lineup import Lineup, lineup
from quantlab.comparison.three_way import Road, ThreeWay, three_way
from quantlab.data import Dataset
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs import data_source
from quantlab.jobs.collecting import fitting, inputs_for, notes_on, operators
from quantlab.jobs.comparing import Mode, mode_for, open_int8
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.metric_choice import chosen_metrics, labels_of
from quantlab.jobs.metric_choice import options as metric_options
from quantlab.jobs.step import Made, Progress, Remake, carry_out, check_output
from quantlab.storage.text import read_text, write_text
from quantlab.versions import versions

Result: TypeAlias = Lineup | ThreeWay

PLANS = (".plan", ".engine", ".trt")
"""Suffixes of TensorRT's plans; anything else is an ONNX model."""

_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LiningUp:
    """What to compare, on what.

    Attributes
    ----------
    fp32, candidates
        The reference and what is held against it, ONNX models or plans.
    data, output
        The samples, and the .json file.
    simulation
        The Q/DQ model that predicts the second candidate, an INT8 engine; the first is the float one then, and a
        three-way check is made instead of a table.
    mode, final, labels, top, custom_ops, metrics
        As for `Comparing`.
    batches
        Batch sizes at which each engine is timed; () times none.
    """

    fp32: Path
    candidates: tuple[Path, ...]
    data: DataSource
    output: Path
    simulation: Path | None = None
    mode: Mode | None = None
    final: bool = True
    labels: bool = True
    top: tuple[int, ...] = (1, 5)
    custom_ops: tuple[Path, ...] = ()
    batches: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()


def line_up(what: LiningUp, *, remake: Remake = "never", progress: Progress | None = None) -> Made:
    """Write the table, or the three-way check, unless it is current.

    Raises
    ------
    QuantlabError
        InputError for models, plans or data that cannot be used; MachineError for a plan without a GPU; StaleError,
        UsageError as `carry_out` tells, and for times of a simulation.
    """
    paths = (what.fp32, *what.candidates, *((what.simulation,) if what.simulation else ()))
    check_output(what.output, (".json",), *paths)
    _check(what)
    samples = _samples(what, next((path for path in paths if not is_plan(path)), None))

    def recipe() -> Recipe:
        inputs = {f"{role} model": file_digest(path) for role, path in _roles(what).items()}
        options = {"mode": what.mode, "final": what.final, "batches": what.batches, "top": what.top}
        return Recipe(
            "compare",
            inputs | data_source.digests(what.data, samples, labels=what.labels) | operators(what.custom_ops),
            options | {"labels": what.labels} | metric_options(what.metrics) | data_source.options(what.data),
        )

    def make() -> Mapping[str, str]:
        with ExitStack() as opened:
            found, ran = _compared(what, samples, opened, progress)
        write_text(what.output, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
        return versions(*ran)

    fresh = carry_out(what.output, recipe, make, remake=remake)
    return Made(what.output, fresh, notes_on(what.data, data_source.skipped(samples)))


def read_result(path: Path) -> Result:
    """Return the table or the three-way check in a file.

    Raises
    ------
    InputError
        When the file is missing, damaged or something else, naming it.
    """
    text = read_text(path, "a table of engines")
    try:
        document: Any = json.loads(text)
        check = isinstance(document, dict) and document.get("schema") == "quantlab-three-way"
        return ThreeWay.from_json(document) if check else Lineup.from_json(document)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is no JSON: {error}.") from error
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error


def is_plan(path: Path) -> bool:
    """Tell whether a file is a TensorRT plan, by its suffix."""
    return path.suffix.lower() in PLANS


def _check(what: LiningUp) -> None:
    if what.simulation is not None and len(what.candidates) != 2:
        raise UsageError(
            "A three-way check takes three engines: the float model, the float engine and the INT8 engine, as in "
            "`quantlab compare model.onnx fp32.plan int8.plan --three-way int8.onnx`."
        )
    if what.simulation is not None and what.batches:
        raise UsageError("A three-way check times nothing: leave the batch sizes out.")
    if what.simulation is not None and not _has_qdq(what.simulation):
        raise InputError(
            f"'{what.simulation}' has no Q/DQ, so it simulates nothing: give the model that `quantlab quantize` made with "
            "the INT8 engine's scales."
        )
    simulated = [path for path in what.candidates if not is_plan(path) and _mode(path, what) == "simulate"]
    if what.batches and simulated:
        raise UsageError(
            f"'{simulated[0]}' is simulated, and the time of a simulation says nothing of INT8: give --optimize, or leave "
            "the batch sizes out."
        )


def _samples(what: LiningUp, onnx: Path | None) -> Dataset:
    """Open the data, in batches that fit the first ONNX model: a plan does not tell its inputs where it cannot run."""
    if onnx is not None:
        model = load_model(onnx)
        source = fitting(what.data, model)
        return open_data(source, inputs_for(source, model, what.custom_ops))
    if what.data.random is not None:
        raise UsageError("Random data are drawn for an ONNX model, and all of these are plans: give data with -d.")
    return open_data(what.data, {})


def _roles(what: LiningUp) -> dict[str, Path]:
    roles = {"FP32": what.fp32} | {f"{i}. candidate's": path for i, path in enumerate(what.candidates, 1)}
    return roles | ({"simulated": what.simulation} if what.simulation else {})


def _compared(
    what: LiningUp, data: Dataset, opened: ExitStack, progress: Progress | None
) -> tuple[Result, tuple[str, ...]]:
    labels = labels_of(what.data, what.metrics) if what.labels else None
    options = CompareOptions(final=what.final, labels=labels, progress=progress)
    model = None if is_plan(what.fp32) else load_model(what.fp32)
    metrics = chosen_metrics(what.metrics, data, what.top, model=model, labels=what.labels)
    reference = opened.enter_context(_open(what.fp32, what, "optimize"))
    found = {
        name: opened.enter_context(_open(path, what, _mode(path, what)))
        for name, path in _named(what.candidates).items()
    }
    ran = (reference.backend, *(engine.backend for engine in found.values()))
    if what.simulation is not None:
        simulation = opened.enter_context(_open(what.simulation, what, "simulate"))
        fp32, int8 = found.values()
        road = Road(reference=reference, fp32=fp32, simulation=simulation, int8=int8)
        return three_way(road, data, metrics=metrics, options=options), ran
    table = lineup(reference, found, data, metrics=metrics, options=options)
    timed = _timed(table, reference, found, data, what.batches) if what.batches else table
    return _sized(timed, what), ran


def _timed(
    table: Lineup, reference: Engine, found: Mapping[str, Engine], data: Dataset, sizes: tuple[int, ...]
) -> Lineup:
    batch = next(iter(data)).bind(reference.inputs)
    # On a device, the reference on the processor sets no pace.
    pace = next((name for name, engine in found.items() if isinstance(engine, TrtEngine)), "")
    costs = {
        name: measured_cost(engine, batch, sizes, rounds=_ROUNDS) for name, engine in {"": reference, **found}.items()
    }
    return table.with_costs(costs, paced_by=pace)


def _sized(table: Lineup, what: LiningUp) -> Lineup:
    paths = {"": what.fp32, **_named(what.candidates)}
    known = {name: table.cost_of(name) for name in paths}
    return table.with_costs(
        {name: replace(known[name], model_bytes=path.stat().st_size) for name, path in paths.items()}
    )


def _open(path: Path, what: LiningUp, mode: Mode) -> Engine:
    return engines.trt(path) if is_plan(path) else open_int8(path, mode, what.custom_ops)


def _mode(path: Path, what: LiningUp) -> Mode:
    if not _has_qdq(path):
        return "optimize"  # a float model has nothing to simulate
    return what.mode or mode_for(load_model(path))


def _has_qdq(path: Path) -> bool:
    if is_plan(path):
        return False
    return any(node.op_type == "DequantizeLinear" for node in load_model(path).proto.graph.node)


def _named(paths: tuple[Path, ...]) -> dict[str, Path]:
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(f"An engine is given twice: {', '.join(names)}.")
    return dict(zip(names, paths, strict=True))
