"""The options of `quantlab build`."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

_SCALES, _SHAPES, _KIND, _TARGET = "INT8 scales", "Shapes", "Kind of plan", "Target"

Model: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="MODEL.onnx", help="The float model, or one with Q/DQ.", show_default=False)
]
Plan: TypeAlias = Annotated[Path | None, typer.Option("--output", "-o", metavar="PATH", help="The .plan to write.")]
Precision: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[+NAME…]",
        help="fp32 (strict), tf32, fp16, bf16, int8, fp8, int4, joined by «+»; by default int8 with scales, else fp32.",
    ),
]
Cache: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="CACHE", rich_help_panel=_SCALES, help="A calibration cache, handed out without calibrating (≤ 10)."
    ),
]
Table: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="SCALES", rich_help_panel=_SCALES, help="A scale table, handed out as a cache (≤ 10)."),
]
Ranges: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="SCALES", rich_help_panel=_SCALES, help="A scale table, set as dynamic ranges (≤ 10)."),
]
Calibrate: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_SCALES,
        help="TensorRT's own calibration on --data: entropy2, minmax, legacy or entropy (≤ 10).",
    ),
]
CalibrationBatch: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--calib-batch", min=1, rich_help_panel=_SCALES, help="Rows a calibration batch: it changes the result."
    ),
]
WriteCache: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="CACHE", rich_help_panel=_SCALES, help="Keep the cache that TensorRT's calibration makes."),
]
AnyModel: TypeAlias = Annotated[
    bool,
    typer.Option("--any-model", rich_help_panel=_SCALES, help="Take scales that say they are of another model."),
]
Shapes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="INPUT:SHAPE[,SHAPE,SHAPE]",
        rich_help_panel=_SHAPES,
        help="One shape, or smallest, best and largest, as 1x3x224x224; once an input, again for another profile.",
    ),
]
CalibrationShapes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--calib-shapes", metavar="INPUT:SHAPE", rich_help_panel=_SHAPES, help="Where calibration runs (≤ 10)."
    ),
]
Layer: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN=PRECISION", help="What layers must compute in, by name or output (≤ 10); repeatable."
    ),
]
Plugin: TypeAlias = Annotated[
    list[Path] | None, typer.Option(metavar="LIBRARY", help="Shared library with plugins of the model; repeatable.")
]
StronglyTyped: TypeAlias = Annotated[
    bool, typer.Option("--strongly-typed", help="The model's own types decide (≥ 9; 11 and RTX know nothing else).")
]
TimingCache: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Read and add kernel timings: the next build is quicker.")
]
Workspace: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Most scratch memory of a layer, as 2GiB.")
]
Level: TypeAlias = Annotated[int | None, typer.Option(min=0, max=5, help="Builder optimization level (≥ 8.6).")]
VersionCompatible: TypeAlias = Annotated[
    bool, typer.Option("--version-compatible", rich_help_panel=_KIND, help="Also for later versions (≥ 8.6).")
]
HardwareCompatible: TypeAlias = Annotated[
    bool,
    typer.Option("--hardware-compatible", rich_help_panel=_KIND, help="Also for later GPUs, from Ampere on (≥ 8.6)."),
]
Refit: TypeAlias = Annotated[
    bool, typer.Option("--refit", rich_help_panel=_KIND, help="Weights can be replaced later.")
]
Strip: TypeAlias = Annotated[bool, typer.Option("--strip", rich_help_panel=_KIND, help="Leave the weights out (≥ 10).")]
Dla: TypeAlias = Annotated[
    int | None, typer.Option(min=0, metavar="CORE", rich_help_panel=_KIND, help="Run on this DLA core.")
]
Fallback: TypeAlias = Annotated[
    bool, typer.Option("--gpu-fallback", rich_help_panel=_KIND, help="Run on the GPU what the DLA cannot.")
]
Device: TypeAlias = Annotated[int, typer.Option(min=0, rich_help_panel=_TARGET, help="CUDA device number.")]
Library: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_TARGET,
        help="tensorrt or tensorrt_rtx, which does not run on H100 and H200; by default what is installed.",
    ),
]
Emit: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="trtexec", rich_help_panel=_TARGET, help="Print the command for another machine; build nothing."
    ),
]
Version: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        rich_help_panel=_TARGET,
        help="TensorRT of that machine, for --emit (by default 8.6.1, RTX 1.7) and --capabilities.",
    ),
]
Capabilities: TypeAlias = Annotated[
    bool, typer.Option("--capabilities", rich_help_panel=_TARGET, help="Print which version can do what.")
]
ProfileLayers: TypeAlias = Annotated[
    bool, typer.Option("--profile-layers", help="Time each layer and write <plan>.profile.json; needs the GPU.")
]
