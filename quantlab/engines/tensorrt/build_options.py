"""How a TensorRT plan is built: values, checked at the door, that no runtime is needed to make."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.errors import UsageError
from quantlab.numerics.arrays import Tensors

Precision: TypeAlias = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "int4"]
LayerPrecision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Algorithm: TypeAlias = Literal["entropy2", "minmax", "legacy", "entropy"]
Shape: TypeAlias = tuple[int, ...]

DEFAULT_LARGEST_BATCH = 32
"""What a free batch dimension may be at most if no profile says so."""


@dataclass(frozen=True, slots=True)
class Profile:
    """An optimization profile: for each input with free dimensions its smallest, best and largest shape.

    TensorRT tunes for the best shape and runs every shape between the other two.
    """

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    def __post_init__(self) -> None:
        for name, (low, best, high) in self.shapes.items():
            ranks = {len(low), len(best), len(high)}
            ordered = all(0 <= a <= b <= c < 2**31 for a, b, c in zip(low, best, high, strict=False))
            if len(ranks) > 1 or not ordered:
                raise UsageError(
                    f"Input «{name}»: a profile's smallest, best and largest shape have one rank and rise in every "
                    f"dimension, below 2**31, unlike {list(low)}, {list(best)}, {list(high)}."
                )

    @classmethod
    def only(cls, shapes: Mapping[str, Shape]) -> Self:
        """Return the profile that takes exactly these shapes."""
        return cls({name: (tuple(shape),) * 3 for name, shape in shapes.items()})

    def takes(self, shapes: Mapping[str, Shape]) -> bool:
        """Tell whether these inputs lie within the profile."""
        return all(
            name not in self.shapes or _within(shape, self.shapes[name][0], self.shapes[name][2])
            for name, shape in shapes.items()
        )

    def best_for(self, shapes: Mapping[str, Shape]) -> bool:
        """Tell whether the profile was tuned for exactly these inputs."""
        return all(name not in self.shapes or shape == self.shapes[name][1] for name, shape in shapes.items())


def default_profiles(free: Mapping[str, Shape]) -> tuple[Profile, ...]:
    """Return the profile of inputs whose batch alone is free (-1): from 1 to 32, tuned for 32.

    Raises
    ------
    UsageError
        When another dimension is free: only the user knows its sizes.
    """
    for name, shape in free.items():
        if -1 in shape[1:]:
            raise UsageError(
                f"Input «{name}» has free dimensions besides the batch ({list(shape)}): name the shapes that the plan is for, "
                f"smallest, best and largest, for instance --shapes {name}:1x…,8x…,32x…."
            )
    most = DEFAULT_LARGEST_BATCH
    return (Profile({n: ((1, *s[1:]), (most, *s[1:]), (most, *s[1:])) for n, s in free.items()}),) if free else ()


def batches_of(profiles: Iterable[Profile]) -> tuple[int, int]:
    """Return the smallest and the largest batch that any of the profiles takes; 1 and 1 without profiles."""
    ends = [[(low[0], high[0]) for low, _, high in profile.shapes.values() if low] for profile in profiles]
    lows = [max(low for low, _ in found) for found in ends if found]
    return max(min(lows, default=1), 1), max((high for found in ends for _, high in found), default=1)


def _within(shape: Shape, low: Shape, high: Shape) -> bool:
    return len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))


@dataclass(frozen=True, slots=True)
class FromCache:
    """INT8 by a calibrator that hands out this cache and never asks for a batch (TensorRT ≤ 10).

    Attributes
    ----------
    cache
        Scales by tensor name.
    chosen_on
        The sets of samples behind it, where that is known; a cache itself does not tell.
    """

    cache: CalibrationCache
    chosen_on: tuple[DataIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class FromRanges:
    """INT8 by `set_dynamic_range` with the scales of a table, symmetric and per tensor (TensorRT ≤ 10).

    Attributes
    ----------
    table
        Of the model that is built, if its provenance names one.
    chosen_on
        The sets of samples behind a table without provenance.
    """

    table: ScaleTable
    chosen_on: tuple[DataIdentity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeCalibration:
    """INT8 by TensorRT's own calibrator, fed with batches (TensorRT ≤ 10).

    Attributes
    ----------
    algorithm
        entropy2, minmax, legacy or entropy.
    batches
        A data set, or any iterable of {input name: array}; every batch but the last is cut to `batch` rows.
    batch
        Rows a calibration batch: TensorRT's result depends on it.
    quantile, cutoff
        What Legacy asks for: the quantile of |x| that becomes amax, and how much of it may be cut further.
    """

    algorithm: Algorithm = "entropy2"
    batches: Iterable[Tensors]
    batch: int = 32
    quantile: float = 0.9999
    cutoff: float = 1.0

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise UsageError(
                f"TensorRT's calibrators are {', '.join(get_args(Algorithm))}; «{self.algorithm}» is none of them."
            )
        if self.batch < 1:
            raise UsageError(f"A calibration batch has at least one row, not {self.batch}.")


Int8Source: TypeAlias = FromCache | FromRanges | NativeCalibration


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build a plan; what the installed version lacks is refused when the plan is built.

    Attributes
    ----------
    precision
        What layers may compute in. «fp32» alone is strict FP32; «tf32» lets Ampere and later round inputs of matrix
        products to 10 mantissa bits; fp16, bf16, int8, fp8 and int4 add that type. The types of a
        model's Q/DQ nodes are added on TensorRT ≤ 10; a strongly typed build takes all types from the model itself.
    strongly_typed
        Let the model's own types decide, from TensorRT 9 on; 11 and TensorRT-RTX know nothing else.
    profiles
        () makes one that lets a free batch dimension run from 1 to 32 and is tuned for 32.
    calibration_profile
        The shapes at which TensorRT's own calibration runs; None is the first profile's best.
    layers
        Layer or output tensor name pattern (`fnmatch`) → the precision it must have; the last match decides.
    workspace
        Bytes of scratch memory a layer may use; None leaves it to TensorRT.
    level
        Builder optimization level 0 … 5; None is TensorRT's default (3).
    timing_cache
        Path of a file to which kernel timings are added, so that the next build is quicker.
    version_compatible, hardware_compatible
        Let the plan run on later versions (≥ 8.6), or on Ampere and later GPUs instead of this one alone (≥ 8.6).
    refit, strip
        Let weights be replaced later; leave them out of the plan (≥ 10).
    plugins
        Shared libraries whose plugins the model uses.
    dla
        Core of the deep learning accelerator to run on; None is the GPU.
    gpu_fallback
        Run on the GPU what the accelerator cannot.
    tactics
        Kernel libraries that may be used, for instance («cublas», «cudnn»); None uses those whose libraries are here.
    detailed
        Keep each layer's details in the plan, for `quantlab inspect plan`.
    device
        CUDA device number.
    """

    precision: tuple[Precision, ...] = ("fp32",)
    strongly_typed: bool = False
    profiles: tuple[Profile, ...] = ()
    calibration_profile: Profile | None = None
    layers: Mapping[str, LayerPrecision] = field(default_factory=dict)
    workspace: int | None = None
    level: int | None = None
    timing_cache: str | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    refit: bool = False
    strip: bool = False
    plugins: tuple[str, ...] = ()
    dla: int | None = None
    gpu_fallback: bool = False
    tactics: tuple[str, ...] | None = None
    detailed: bool = True
    device: int = 0

    def __post_init__(self) -> None:
        known = get_args(Precision)
        wrong = [p for p in self.precision if p not in known]
        if wrong:
            raise UsageError(f"Precisions are {', '.join(known)}; «{wrong[0]}» is none of them.")
        bad = [p for p in self.layers.values() if p not in get_args(LayerPrecision)]
        if bad:
            raise UsageError(f"A layer's precision is one of {', '.join(get_args(LayerPrecision))}, not «{bad[0]}».")
        if self.level is not None and not 0 <= self.level <= 5:
            raise UsageError(f"The builder's optimization level lies in 0 … 5, not {self.level}.")
        if self.workspace is not None and not 0 <= self.workspace < 2**63:
            raise UsageError(f"The workspace is a number of bytes below 2**63, not {self.workspace}.")
        if self.gpu_fallback and self.dla is None:
            raise UsageError("GPU fallback belongs to a build for a DLA core: name the core too.")
