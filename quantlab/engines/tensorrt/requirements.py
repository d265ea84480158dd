"""What a build needs of the TensorRT that is to do it, checked before anything is loaded."""

from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, FromRanges, Int8Source, NativeCalibration
from quantlab.engines.tensorrt.capabilities import Feature, always_typed, require
from quantlab.errors import UsageError

_WEAK = ("fp16", "bf16")


def features_of(options: BuildOptions, int8: Int8Source | None, *, explicit: bool) -> tuple[Feature, ...]:
    """Return what a build asks for; `explicit` tells whether the model has Q/DQ."""
    precision = options.precision
    asked: dict[Feature, bool] = {
        "named I/O": True,
        "calibration cache": isinstance(int8, FromCache),
        "dynamic ranges": isinstance(int8, FromRanges),
        "calibrators": isinstance(int8, NativeCalibration),
        "calibration profile": options.calibration_profile is not None,
        "strong typing": options.strongly_typed,
        "bf16": "bf16" in precision or "bf16" in options.layers.values(),
        "fp8": "fp8" in precision,
        "int4": "int4" in precision,
        "precision constraints": bool(options.layers),
        "weak typing": not options.strongly_typed and any(p in _WEAK for p in precision),
        "Q/DQ": explicit,
        "optimization level": options.level is not None,
        "timing cache": options.timing_cache is not None,
        "version-compatible plans": options.version_compatible,
        "hardware-compatible plans": options.hardware_compatible,
        "refit": options.refit,
        "stripped plans": options.strip,
        "plugins V2": bool(options.plugins),
        "DLA": options.dla is not None,
    }
    return tuple(feature for feature, wanted in asked.items() if wanted)


def check_requirements(
    options: BuildOptions, int8: Int8Source | None, *, explicit: bool, library: str, version: str
) -> None:
    """Refuse a build that a version cannot do, or whose options contradict each other.

    Raises
    ------
    UsageError
        With what to do instead.
    """
    for feature in features_of(options, int8, explicit=explicit):
        require(feature, library, version)
    if int8 is not None:
        refuse_scales_beside_qdq(explicit=explicit)
    _check_typing(options, int8)
    if "int8" in options.precision and int8 is None and not explicit:
        others = (
            ""
            if always_typed(library, version)
            else "a calibration cache, a scale table, TensorRT's own calibration, or "
        )
        raise UsageError(f"INT8 needs scales: {others}a Q/DQ model as `quantlab quantize` writes it.")
    small = [p for p in options.precision if p in ("fp8", "int4")]
    if small and not explicit:
        raise UsageError(
            f"{small[0].upper()} comes from Q/DQ nodes alone, and the model has none: leave {small[0]} out."
        )
    if options.dla is not None and not _entropy2(int8):
        raise UsageError(
            "A DLA takes the scales of entropy2 only, as NVIDIA says of its calibrator: calibrate with entropy2, or change the "
            "cache's header with `quantlab cache retarget --algorithm EntropyCalibration2`."
        )


def refuse_scales_beside_qdq(*, explicit: bool) -> None:
    """Refuse INT8 scales from outside for a model with Q/DQ.

    Raises
    ------
    UsageError
        When the model has Q/DQ.
    """
    if explicit:
        raise UsageError(
            "The model has Q/DQ nodes, which hold its scales: TensorRT would ignore a cache, ranges or a calibration. Give "
            "the float model, or no INT8 scales."
        )


def _entropy2(int8: Int8Source | None) -> bool:
    if isinstance(int8, FromCache):
        return int8.cache.algorithm == "EntropyCalibration2"
    return not isinstance(int8, NativeCalibration) or int8.algorithm == "entropy2"


def _check_typing(options: BuildOptions, int8: Int8Source | None) -> None:
    if not options.strongly_typed:
        return
    weak = [p for p in options.precision if p in _WEAK]
    if weak or options.layers or int8 is not None:
        what = (
            f"the precision {weak[0]}" if weak else "a layer's precision" if options.layers else "scales from outside"
        )
        raise UsageError(
            f"A strongly typed network's types are the model's own, so {what} cannot be asked for: leave one of the two out."
        )
