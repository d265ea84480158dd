"""Builds a plan: an ONNX model and options in, TensorRT's serialized engine with where it comes from out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from quantlab.atomic import atomic_path
from quantlab.calibration.provenance import check_made_for
from quantlab.engines.cuda.memory import Device, devices
from quantlab.engines.onnx_runtime import Network
from quantlab.engines.opening import plain_network
from quantlab.engines.tensorrt.build_options import BuildOptions, FromRanges, Int8Source
from quantlab.engines.tensorrt.capabilities import always_typed
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.engines.tensorrt.config import add_profiles, configured, open_timing_cache
from quantlab.engines.tensorrt.inspection import layers_of
from quantlab.engines.tensorrt.int8_scales import Int8Scales
from quantlab.engines.tensorrt.network import constrain, has_qdq, load_plugins, parse, qdq_precisions
from quantlab.engines.tensorrt.plan import Plan, digest_of
from quantlab.engines.tensorrt.progress import interruptible, monitor
from quantlab.engines.tensorrt.requirements import check_requirements
from quantlab.engines.tensorrt.runtime import Heard, LibraryName, Listener
from quantlab.engines.tensorrt.runtime import library as library_named
from quantlab.errors import InputError, QuantlabError

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a phase of the build, its step and how many steps it has."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told what during a build.

    Attributes
    ----------
    progress
        Phases and steps, where TensorRT has a progress monitor (≥ 10, TensorRT-RTX).
    log
        Every line that TensorRT logs, verbose ones too, with its severity.
    """

    progress: Progress | None = None
    log: Listener | None = None


def build(
    model: Any,
    *,
    options: BuildOptions | None = None,
    int8: Int8Source | None = None,
    library: LibraryName | None = None,
    reports: Reports | None = None,
) -> Plan:
    """Build a plan for this machine's GPU.

    Parameters
    ----------
    model
        Path, ModelProto or Model of a float or a Q/DQ model.
    options
        Precisions, shapes, and what else TensorRT may do.
    int8
        Where INT8 scales come from: a cache, a table's dynamic ranges or TensorRT's own calibration (all ≤ 10). None
        for a Q/DQ model, which holds its scales, and for float plans.
    library
        tensorrt or tensorrt_rtx; None takes the first that is installed.
    reports
        Who is told of progress, and of TensorRT's log.

    Raises
    ------
    UsageError
        When the installed version lacks what the options ask for, or options contradict the model.
    InputError
        When TensorRT cannot read the model, or cannot build it, or the scales are of none of its tensors.
    StaleError
        When a table of dynamic ranges was made for another model.
    MachineError
        When TensorRT or a GPU is missing.
    """
    return build_network(plain_network(model), options=options, int8=int8, library=library, reports=reports)


def build_network(
    network: Network,
    *,
    options: BuildOptions | None = None,
    int8: Int8Source | None = None,
    library: LibraryName | None = None,
    reports: Reports | None = None,
) -> Plan:
    """Build a plan of a network that is known to belong to a user's model; see `build`."""
    explicit = has_qdq(network.proto)
    if isinstance(int8, FromRanges) and not explicit:
        check_made_for(int8.table.provenance, network.digest, network.name)
    settings, told, lib = options or BuildOptions(), reports or Reports(), library_named(library)
    check_requirements(settings, int8, explicit=explicit, library=lib.name, version=lib.version)
    started = perf_counter()
    with lib.log.heard(told.log) as heard, interruptible(heard):
        device = Device(settings.device) if devices() else None
        load_plugins(lib, settings.plugins)
        typed = always_typed(lib.name, lib.version) or settings.strongly_typed
        parsed = parse(network.proto, lib, heard, strongly_typed=settings.strongly_typed)
        weak = frozenset() if typed else _weak(network, settings, int8)
        config = configured(parsed, lib, settings, weak=weak)
        profiles = add_profiles(config, parsed, settings)
        constrain(parsed.network, lib, settings)
        scales = Int8Scales.prepared(lib, parsed, config, settings, int8, profiles, device)
        scales.heed(heard)
        open_timing_cache(config, settings.timing_cache)
        keep = monitor(lib, config, told.progress, heard)
        data = parsed.builder.build_serialized_network(parsed.network, config)
        del keep
        scales.check(heard)
        if data is None:
            bare = device is None and "CUDA" in heard.first_error
            hint = " Some plans can only be built where there is a GPU, and here is none." if bare else ""
            raise InputError(f"{lib.title} cannot build a plan of «{network.name}»: {heard.first_error}.{hint}")
        notes = (*scales.notes, *_kept_timings(config, settings.timing_cache), *_listed(heard))
        seconds = perf_counter() - started
        plan = bytes(data)
        layers, memory = "", None
        if device is not None:
            with lib.log.heard() as loading:
                layers, memory = layers_of(lib, plan, settings)
            notes += () if layers else (f"the plan cannot be loaded on this GPU: {loading.first_error}",)
    card = PlanCard(
        library=lib.name,
        version=lib.version,
        device=device.name if device else "",
        compute_capability=device.compute_capability if device else "",
        version_compatible=settings.version_compatible,
        hardware_compatible=settings.hardware_compatible or lib.name == "tensorrt_rtx",
        precision=tuple(sorted(weak | set(settings.precision))) if not typed else ("strongly typed",),
        scales=scales.title or ("Q/DQ" if explicit else ""),
        scales_digest=scales.digest,
        model=network.digest,
        model_name=network.name,
        digest=digest_of(plan),
        layers_digest=digest_of(layers.encode()) if layers else "",
        size=len(plan),
        build_seconds=seconds,
        device_memory=memory,
        stripped=settings.strip,
        plugins=tuple(Path(path).name for path in settings.plugins),
        chosen_on=network.chosen_on or scales.chosen_on,
        profiles=tuple(dict(profile.shapes) for profile in profiles),
        notes=notes,
    )
    return Plan(plan, card, layers, scales.written)


def _weak(network: Network, options: BuildOptions, int8: Int8Source | None) -> frozenset[str]:
    """Return what the layers of a weakly typed network may compute in."""
    return frozenset(options.precision) | qdq_precisions(network.proto) | ({"int8"} if int8 else set())


def _listed(heard: Heard, most: int = 20) -> tuple[str, ...]:
    more = len(heard.warnings) - most
    return (*(heard.warnings[:most]), *((f"and {more} more warnings",) if more > 0 else ()))


def _kept_timings(config: Any, path: str | None) -> tuple[str, ...]:
    """Write the timings; a disk that does not take them costs no built plan, but is told."""
    if path is not None:
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
        except (QuantlabError, OSError) as error:
            return (f"the timings were not kept: {error}",)
    return ()
