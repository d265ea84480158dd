"""Step: a model and build options in, a TensorRT plan out; or the command that builds it elsewhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quantlab.calibration.provenance import Provenance
from quantlab.data import Dataset
from quantlab.engines.cuda.memory import Device, devices
from quantlab.engines.tensorrt.build import Progress, Reports, build
from quantlab.engines.tensorrt.build_options import BuildOptions, Int8Source, NativeCalibration
from quantlab.engines.tensorrt.card import VERSION
from quantlab.engines.tensorrt.network import has_qdq
from quantlab.engines.tensorrt.plan import Plan, card_path, layers_path, read_plan, write_plan
from quantlab.engines.tensorrt.requirements import check_requirements, refuse_scales_beside_qdq
from quantlab.engines.tensorrt.runtime import Library, LibraryName, library
from quantlab.engines.tensorrt.trtexec import Command, Subject, command
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model
from quantlab.jobs import data_source, remarks
from quantlab.jobs.collecting import inputs_for, notes_on
from quantlab.jobs.data_source import open_data
from quantlab.jobs.layer_times import times_path
from quantlab.jobs.manifest import Recipe, file_digest, record
from quantlab.jobs.plan_scales import (
    Calibration,
    StoredScales,
    calibration_data,
    calibration_source,
    check_scales,
    stored_source,
)
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.cache_sidecar import write_sidecar
from quantlab.storage.text import write_text
from quantlab.versions import versions

SUFFIXES = (".plan", ".engine", ".trt")


@dataclass(frozen=True, slots=True)
class Building:
    """Which model becomes which plan.

    Attributes
    ----------
    model, output
        The ONNX file, float or with Q/DQ, and the plan.
    options
        How to build.
    scales
        INT8 scales of a float model: stored ones, TensorRT's own calibration, or None.
    library
        tensorrt or tensorrt_rtx; None takes the first that is installed.
    """

    model: Path
    output: Path
    options: BuildOptions = field(default_factory=BuildOptions)
    scales: StoredScales | Calibration | None = None
    library: LibraryName | None = None


def build_plan(what: Building, *, remake: Remake = "never", progress: Progress | None = None) -> tuple[Made, Plan]:
    """Write the plan, its card and the inspector's report, unless it is current; return it too.

    A plan is current as long as model, scales, data, options, plugins, TensorRT and GPU are the same.

    Raises
    ------
    QuantlabError
        UsageError for what the installed TensorRT lacks, MachineError without TensorRT, InputError for a model or scales
        that cannot be used, StaleError for the scales of another model or as `carry_out` tells.
    """
    stored = what.scales.path if isinstance(what.scales, StoredScales) else None
    check_output(what.output, SUFFIXES, what.model, stored)
    model, lib = load_model(what.model), library(what.library)
    int8, data, notes = _prepared(what, model, lib)
    made: list[Plan] = []

    def recipe() -> Recipe:
        return _recipe(what, model, lib, data)

    def make() -> Mapping[str, str]:
        plan = build(model, options=what.options, int8=int8, library=lib.name, reports=Reports(progress=progress))
        write_plan(what.output, plan)
        made.append(plan)
        return versions(f"{lib.name} {lib.version}")

    fresh = carry_out(what.output, recipe, make, remake=remake)
    plan = made[0] if made else read_plan(what.output)
    if fresh:
        times_path(what.output).unlink(missing_ok=True)  # they are the old plan's
        beside = [path for path in (card_path(what.output), layers_path(what.output)) if path.exists()]
        for path in beside:
            record(path, recipe(), versions=versions(f"{lib.name} {lib.version}"))
    if isinstance(what.scales, Calibration) and data is not None:
        notes = (*notes_on(what.scales.data, data_source.skipped(data)), *_kept_cache(what, model, plan, fresh=fresh))
    notes = (*notes, *plan.card.notes, *remarks.on_sets(plan.card.chosen_on))
    return Made(what.output, fresh, tuple(dict.fromkeys(notes))), plan


def emit_trtexec(what: Building, version: str, library: LibraryName = "tensorrt") -> Command:
    """Return the command that builds the plan on a machine with this TensorRT; none is needed here.

    Raises
    ------
    QuantlabError
        UsageError for what that version lacks or trtexec cannot express, InputError and StaleError as `build_plan`.
    """
    model = load_model(what.model)
    subject = Subject.of(str(what.model), model.proto)
    int8: Int8Source | None = None
    cache: str | None = None
    check_scales(what.scales, library, version)
    notes: tuple[str, ...] = ()
    if isinstance(what.scales, Calibration):
        int8 = NativeCalibration(algorithm=what.scales.algorithm, batches=())
    elif what.scales is not None:
        cache = str(what.scales.path)
        if what.scales.way == "ranges" or what.scales.path.suffix.lower() in (".json", ".csv"):
            raise UsageError(
                f"trtexec reads caches, but sets no dynamic ranges and knows no scale tables: make a cache with `quantlab cache "
                f"convert {cache} --model {what.model} --tensorrt {version} -o int8.cache` and give it with --cache."
            )
        int8, notes = stored_source(what.scales, model, version)
    found = command(subject, what.options, int8, plan=str(what.output), version=version, library=library, cache=cache)
    return Command(found.text, (*notes, *found.notes))


def _prepared(what: Building, model: Model, lib: Library) -> tuple[Int8Source | None, Dataset | None, tuple[str, ...]]:
    """Return the INT8 source, the data that calibration is to read, and what to say; refuse before any data is read."""
    check_scales(what.scales, lib.name, lib.version)
    if what.scales is not None:
        refuse_scales_beside_qdq(explicit=has_qdq(model.proto))
    int8: Int8Source | None = None
    data: Dataset | None = None
    notes: tuple[str, ...] = ()
    if isinstance(what.scales, StoredScales):
        int8, notes = stored_source(what.scales, model, lib.version)
    elif what.scales is not None:
        source = calibration_data(what.scales, model)
        data = open_data(source, inputs_for(source, model))
        int8 = calibration_source(what.scales, model, data)
    check_requirements(what.options, int8, explicit=has_qdq(model.proto), library=lib.name, version=lib.version)
    return int8, data, notes


def _recipe(what: Building, model: Model, lib: Library, data: Dataset | None) -> Recipe:
    inputs = {"model": model.digest} | {f"plugin {path}": file_digest(Path(path)) for path in what.options.plugins}
    # Timings only make the build quicker, and are written by it.
    options: dict[str, Any] = {k: v for k, v in asdict(what.options).items() if k not in ("timing_cache", "plugins")}
    options["card"] = VERSION  # a plan whose card this quantlab does not read is not current
    options |= {"library": f"{lib.name} {lib.version}", "gpu": Device(what.options.device).name if devices() else ""}
    match what.scales:
        case StoredScales(path, way, _):
            inputs["scales"] = file_digest(path)
            options["scales"] = way
        case Calibration(algorithm, source, _, _) if data is not None:
            fitted = calibration_data(what.scales, model)
            inputs |= data_source.digests(source, data, order=True)
            options |= {"scales": algorithm, "batch": fitted.batch} | data_source.options(source)
    return Recipe("build", inputs, options)


def _kept_cache(what: Building, model: Model, plan: Plan, *, fresh: bool) -> tuple[str, ...]:
    """Write the cache of TensorRT's own calibration, where one was asked for; return what to say."""
    if not isinstance(what.scales, Calibration) or what.scales.cache is None:
        return ()
    path = what.scales.cache
    if not fresh:
        return (
            ()
            if path.exists()
            else (f"The plan is current, so nothing was calibrated and no '{path}' written: give --force.",)
        )
    fitted = calibration_data(what.scales, model)
    grid = f"TensorRT's own calibration, {what.scales.algorithm}, batch {fitted.batch}"
    ran = versions(f"{plan.card.library} {plan.card.version}")
    write_text(path, plan.cache)
    write_sidecar(path, plan.cache, Provenance(model.digest, model.name, plan.card.chosen_on, ran, grid))
    return ()
