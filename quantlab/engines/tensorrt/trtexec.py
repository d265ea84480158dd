"""The trtexec command that builds the same plan on another machine; flags as NVIDIA's sampleOptions.cpp has them by tag.

TensorRT-RTX's tool is `tensorrt_rtx`, whose sources are not public: flags that its guides do not show are pointed out.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx
from typing_extensions import Self

from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    FromCache,
    FromRanges,
    Int8Source,
    NativeCalibration,
    Profile,
    Shape,
    default_profiles,
)
from quantlab.engines.tensorrt.capabilities import TITLES, always_typed, parse_version
from quantlab.engines.tensorrt.network import has_qdq
from quantlab.engines.tensorrt.requirements import check_requirements
from quantlab.errors import UsageError

_SHOWN_BY_RTX = frozenset(
    {"--onnx", "--minShapes", "--optShapes", "--maxShapes", "--saveEngine", "--skipInference", "--profilingVerbosity"}
)
_SOURCES = ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")


@dataclass(frozen=True, slots=True)
class Subject:
    """What trtexec has to be told of a model.

    Attributes
    ----------
    path
        Where it lies on the target machine.
    explicit
        Whether it has Q/DQ.
    shapes
        Input → its shape, −1 where a dimension is free.
    nodes
        Each node's name and outputs.
    """

    path: str
    explicit: bool = False
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    nodes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, path: str, proto: onnx.ModelProto) -> Self:
        """Return what a model says of itself."""
        stored = {tensor.name for tensor in proto.graph.initializer}
        shapes = {i.name: _shape(i) for i in proto.graph.input if i.name not in stored}
        return cls(path, has_qdq(proto), shapes, tuple((n.name, tuple(n.output)) for n in proto.graph.node))

    @property
    def free(self) -> dict[str, Shape]:
        """The inputs with free dimensions."""
        return {name: shape for name, shape in self.shapes.items() if -1 in shape}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, quoted for a shell, and what a user should know of it."""

    text: str
    notes: tuple[str, ...] = ()


def command(
    subject: Subject,
    options: BuildOptions,
    int8: Int8Source | None = None,
    *,
    plan: str,
    version: str,
    library: str = "tensorrt",
    cache: str | None = None,
) -> Command:
    """Return the command for a version of TensorRT.

    Parameters
    ----------
    subject, options, int8
        As for `build`.
    plan
        Where the plan goes.
    version, library
        What the target machine has, for instance «10.3» of `tensorrt`.
    cache
        Where the calibration cache lies on the target machine.

    Raises
    ------
    UsageError
        For what that version lacks, or trtexec cannot express.
    """
    check_requirements(options, int8, explicit=subject.explicit, library=library, version=version)
    _check_scales(subject, int8, cache)
    tool = _Tool(library, version)
    flags = [
        f"--onnx={subject.path}",
        f"--saveEngine={plan}",
        "--skipInference" if tool.since(8, 6) else "--buildOnly",
        *_precisions(tool, subject, options, int8, cache),
        *_shapes(tool, subject, options, int8),
        *_layers(subject, options),
        *_budget(options),
        *_kinds(tool, options),
        *_machine(tool, options),
    ]
    if options.detailed:
        flags += ["--profilingVerbosity=detailed", f"--exportLayerInfo={plan}.layers.json"]
    return Command(shlex.join([tool.name, *flags]), _notes(tool, flags, int8))


@dataclass(frozen=True, slots=True)
class _Tool:
    library: str
    version: str

    @property
    def name(self) -> str:
        return "trtexec" if self.library == "tensorrt" else "tensorrt_rtx"

    @property
    def title(self) -> str:
        return f"The {self.name} of {TITLES[self.library]} {self.version}"

    def since(self, *version: int) -> bool:
        """Tell whether it is of `tensorrt` of this version at least; TensorRT-RTX is as the newest."""
        return self.library == "tensorrt_rtx" or parse_version(self.version) >= version


def _check_scales(subject: Subject, int8: Int8Source | None, cache: str | None) -> None:
    convert = f"quantlab cache convert SCALES --model {subject.path} -o int8.cache"
    match int8:
        case NativeCalibration():
            raise UsageError(
                "trtexec cannot calibrate: without a cache it feeds random numbers to TensorRT's calibrator. Calibrate here with "
                "--write-cache FILE, or with quantlab, and emit with --cache FILE."
            )
        case FromRanges():
            raise UsageError(
                f"trtexec sets no dynamic ranges: write the scales into a cache (`{convert}`) and emit with --cache int8.cache."
            )
        case FromCache(found, _) if found.algorithm != "EntropyCalibration2":
            raise UsageError(
                f"trtexec reads a cache as EntropyCalibration2 and would put one of {found.algorithm} aside for random numbers: "
                f"write it anew (`{convert.replace('SCALES', cache or 'CACHE')} --algorithm EntropyCalibration2`)."
            )


def _precisions(
    tool: _Tool, subject: Subject, options: BuildOptions, int8: Int8Source | None, cache: str | None
) -> Iterator[str]:
    if "tf32" not in options.precision:
        yield "--noTF32"
    if options.strongly_typed and not always_typed(tool.library, tool.version):
        yield "--stronglyTyped"
    if options.strongly_typed or always_typed(tool.library, tool.version):
        return
    wanted = set(options.precision)
    if int8 is not None or (subject.explicit and not wanted & {"fp8", "int4"}):
        wanted.add("int8")
    if {"fp8", "int8"} <= wanted:
        raise UsageError("trtexec takes --fp8 or --int8, not both: leave one out, or build strongly typed.")
    if "int4" in wanted and not tool.since(10, 1):
        raise UsageError(f"{tool.title} has no --int4: it came with 10.1; build strongly typed.")
    yield from (f"--{name}" for name in ("fp16", "bf16", "int8", "fp8", "int4") if name in wanted)
    if isinstance(int8, FromCache):
        yield f"--calib={cache or 'int8.cache'}"


def _shapes(tool: _Tool, subject: Subject, options: BuildOptions, int8: Int8Source | None) -> Iterator[str]:
    profiles = tuple(free_part(profile, subject) for profile in options.profiles or default_profiles(subject.free))
    profiles = tuple(profile for profile in profiles if profile.shapes)
    if len(profiles) > 1 and not tool.since(9, 0):
        raise UsageError(f"{tool.title} builds one optimization profile; several came with 9.0: give one --shapes.")
    for number, profile in enumerate(profiles):
        if len(profiles) > 1:
            yield f"--profile={number}"
        for name, position in (("min", 0), ("opt", 1), ("max", 2)):
            yield f"--{name}Shapes={_specs(profile, position)}"
    if options.calibration_profile is not None and int8 is not None:
        yield f"--optShapesCalib={_specs(options.calibration_profile, 1)}"


def free_part(profile: Profile, subject: Subject) -> Profile:
    """Return the profile of the inputs that have free dimensions: trtexec refuses shapes for others.

    Raises
    ------
    UsageError
        For a shape that the model's input cannot have.
    """
    for name, shapes in profile.shapes.items():
        if name not in subject.shapes:
            raise UsageError(f"The network has no input «{name}»; its inputs are {', '.join(subject.shapes)}.")
        have = subject.shapes[name]
        for wanted in shapes:
            if len(wanted) != len(have) or any(w != h for w, h in zip(wanted, have, strict=True) if h != -1):
                raise UsageError(
                    f"Input «{name}» is {list(have)} (-1 is free); the profile's {list(wanted)} does not fit."
                )
    return Profile({name: shapes for name, shapes in profile.shapes.items() if name in subject.free})


def _specs(profile: Profile, position: int) -> str:
    found = []
    for name, shapes in profile.shapes.items():
        _check_name(name, "Input")
        found.append(f"{name}:{'x'.join(str(size) for size in shapes[position]) or 'scalar'}")
    return ",".join(found)


def _layers(subject: Subject, options: BuildOptions) -> Iterator[str]:
    if not options.layers:
        return
    found: dict[str, str] = {}
    for pattern, precision in options.layers.items():
        hits = [name for name, outputs in subject.nodes if any(fnmatchcase(x, pattern) for x in (name, *outputs))]
        if not hits:
            raise UsageError(f"No node and no tensor of the model matches «{pattern}»; trtexec would not say so.")
        if "" in hits and pattern != "*":
            raise UsageError(
                f"A node that «{pattern}» matches has no name, and trtexec knows layers by name alone: name the model's nodes."
            )
        # trtexec prefers a name to «*» in whatever order; here the last match decides.
        found = {"*": precision} if pattern == "*" else found | dict.fromkeys(hits, precision)
    for name in found:
        _check_name(name, "Layer")
    yield "--precisionConstraints=obey"
    yield "--layerPrecisions=" + ",".join(f"{name}:{precision}" for name, precision in found.items())


def _check_name(name: str, what: str) -> None:
    if set(name) & set(",'"):
        raise UsageError(f"{what} «{name}» has a comma or a quotation mark in its name, which trtexec cannot take.")


def _budget(options: BuildOptions) -> Iterator[str]:
    if options.workspace is not None:
        yield f"--memPoolSize=workspace:{options.workspace / 2**20:.12g}"
    if options.level is not None:
        yield f"--builderOptimizationLevel={options.level}"
    if options.timing_cache is not None:
        yield f"--timingCacheFile={options.timing_cache}"


def _kinds(tool: _Tool, options: BuildOptions) -> Iterator[str]:
    if options.version_compatible:
        yield "--versionCompatible"
    if options.hardware_compatible:
        yield "--hardwareCompatibilityLevel=ampere+"
    if options.refit:
        yield "--refit"
    if options.strip:
        yield "--stripWeights"
    for path in options.plugins:
        yield f"{'--staticPlugins' if tool.since(8, 6) else '--plugins'}={path}"


def _machine(tool: _Tool, options: BuildOptions) -> Iterator[str]:
    if options.dla is not None:
        yield f"--useDLACore={options.dla}"
    if options.gpu_fallback:
        yield "--allowGPUFallback"
    if options.device:
        yield f"--device={options.device}"
    if options.tactics is not None:
        known = _SOURCES[3:] if tool.since(11, 0) else _SOURCES
        chosen = {name.upper() for name in options.tactics}
        yield "--tacticSources=" + ",".join(f"{'+' if name in chosen else '-'}{name}" for name in known)


def _notes(tool: _Tool, flags: list[str], int8: Int8Source | None) -> tuple[str, ...]:
    notes = []
    if tool.library == "tensorrt_rtx":
        others = [name for name in (flag.partition("=")[0] for flag in flags) if name not in _SHOWN_BY_RTX]
        if others:
            notes.append(f"NVIDIA's guides of tensorrt_rtx do not show {', '.join(others)}: see its --help.")
    if isinstance(int8, FromCache):
        notes.append(
            "If trtexec does not find the cache, it calibrates with random numbers and does not fail: copy the file too."
        )
    return tuple(notes)


def _shape(value: onnx.ValueInfoProto) -> Shape:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else -1 for d in dimensions)
