"""A builder configuration from build options."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantlab.engines.tensorrt.build_options import BuildOptions, Profile, Shape, default_profiles
from quantlab.engines.tensorrt.network import Parsed
from quantlab.engines.tensorrt.runtime import Library
from quantlab.errors import InputError

_FLAGS = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8", "int4": "INT4"}
_EXTERNAL = {
    "CUBLAS": ("libcublas.so.12", "libcublas.so.11"),
    "CUBLAS_LT": ("libcublasLt.so.12", "libcublasLt.so.11"),
    "CUDNN": ("libcudnn.so.8",),
}
"""Kernel libraries that TensorRT loads when it builds; without them their tactics must be off."""


def configured(parsed: Parsed, lib: Library, options: BuildOptions, *, weak: frozenset[str]) -> Any:
    """Return the configuration; `weak` are the precisions that a weakly typed network may use.

    Raises
    ------
    InputError
        When a profile does not fit the network's inputs.
    """
    trt = lib.module
    config = parsed.builder.create_builder_config()
    if "tf32" not in options.precision:
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in _flags(trt, options, weak):
        config.set_flag(flag)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _share_profiles(config, trt)
    _set_tactics(config, trt, options)
    _set_accelerator(config, trt, options)
    return config


def _flags(trt: Any, options: BuildOptions, weak: frozenset[str]) -> list[Any]:
    wanted = {
        **{flag: precision in weak for precision, flag in _FLAGS.items()},
        "OBEY_PRECISION_CONSTRAINTS": bool(options.layers),
        "VERSION_COMPATIBLE": options.version_compatible,
        "REFIT": options.refit,
        "STRIP_PLAN": options.strip,
        "GPU_FALLBACK": options.gpu_fallback,
    }
    known = trt.BuilderFlag.__members__  # 10.0 has INT4 tensors, but no flag for them
    return [known[name] for name, asked in wanted.items() if asked and name in known]


def _share_profiles(config: Any, trt: Any) -> None:
    """Let two threads use one profile at a time: 8.6 must be told, 8.5 cannot, later versions always do."""
    sharing = getattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if sharing is not None:
        config.set_preview_feature(sharing, True)


def _set_tactics(config: Any, trt: Any, options: BuildOptions) -> None:
    known = dict(trt.TacticSource.__members__)
    if options.tactics is None:
        chosen = {name for name in known if name not in _EXTERNAL or _loads(_EXTERNAL[name])}
        if chosen == set(known):
            return
        chosen &= {name for name, source in known.items() if config.get_tactic_sources() & (1 << int(source))}
    else:
        chosen = {name.upper() for name in options.tactics}
        if unknown := sorted(chosen - set(known)):
            raise InputError(
                f"Tactic sources are {', '.join(n.lower() for n in known)}; «{unknown[0].lower()}» is none of them."
            )
    config.set_tactic_sources(sum(1 << int(known[name]) for name in chosen))


def _loads(names: tuple[str, ...]) -> bool:
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _set_accelerator(config: Any, trt: Any, options: BuildOptions) -> None:
    if options.dla is None:
        return
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla


def add_profiles(config: Any, parsed: Parsed, options: BuildOptions) -> tuple[Profile, ...]:
    """Add the optimization profiles and return them; none where no input has a free dimension.

    Raises
    ------
    InputError
        When a profile does not fit the network's inputs, or an input's values are shapes.
    UsageError
        When there is none, and a dimension besides the batch is free.
    """
    inputs = [parsed.network.get_input(i) for i in range(parsed.network.num_inputs)]
    values = [tensor.name for tensor in inputs if tensor.is_shape_tensor]
    if values:
        raise InputError(
            f"Input «{values[0]}» holds sizes that shapes depend on (a shape tensor), which quantlab cannot build for: make "
            "it a constant of the model."
        )
    free = {tensor.name: tuple(tensor.shape) for tensor in inputs if -1 in tuple(tensor.shape)}
    profiles = options.profiles or default_profiles(free)
    for profile in profiles:
        config.add_optimization_profile(_made(parsed.builder, profile, {t.name: tuple(t.shape) for t in inputs}))
    return profiles


def set_calibration_profile(config: Any, parsed: Parsed, profile: Profile) -> None:
    """Set the shapes that TensorRT's own calibration runs at."""
    shapes = {
        parsed.network.get_input(i).name: tuple(parsed.network.get_input(i).shape)
        for i in range(parsed.network.num_inputs)
    }
    config.set_calibration_profile(_made(parsed.builder, profile, shapes))


def _made(builder: Any, profile: Profile, inputs: Mapping[str, Shape]) -> Any:
    made = builder.create_optimization_profile()
    if unknown := sorted(set(profile.shapes) - set(inputs)):
        raise InputError(f"The network has no input «{unknown[0]}»; its inputs are {', '.join(inputs)}.")
    for name, shape in inputs.items():
        if name not in profile.shapes:
            if -1 in shape:
                raise InputError(
                    f"Input «{name}» has free dimensions ({list(shape)}), but the profile does not name it."
                )
            continue
        for wanted in profile.shapes[name]:
            if len(wanted) != len(shape) or any(
                want != have for want, have in zip(wanted, shape, strict=True) if have != -1
            ):
                raise InputError(
                    f"Input «{name}» is {list(shape)} (-1 is free); the profile's {list(wanted)} does not fit."
                )
        made.set_shape(name, *profile.shapes[name])
    return made


def open_timing_cache(config: Any, path: str | None) -> None:
    """Let a build use and add to the timings in a file; what another version or GPU timed is left aside.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    if path is None:
        return
    source = Path(path)
    if source.is_dir():
        raise InputError(f"The timing cache '{path}' is a folder: give the name of a file.")
    try:
        stored = source.read_bytes() if source.exists() else b""
    except OSError as error:
        raise InputError(f"The timing cache '{path}' cannot be read: {error.strerror}.") from error
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
