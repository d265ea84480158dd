"""Options that several commands share, written once."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from quantlab.builder import QuantizeOptions

DATA_PANEL = "Data"

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", "-f", help="Make the output anew, whatever is there.")]
Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="The file to write.")]
Model: TypeAlias = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The float model.")]
Target: TypeAlias = Annotated[
    str, typer.Option(help="tensorrt, tensorrt@8.6 … tensorrt@11.0, or ort.", metavar="RUNTIME")
]
Weights: TypeAlias = Annotated[
    str, typer.Option(metavar="int8|qdq", help="int8: stored as INT8 with DQ; qdq: FP32 with Q and DQ.")
]
Head: TypeAlias = Annotated[
    str, typer.Option(metavar="float|int8", help="The last weighted operator and the pooling before it.")
]
AllowMissing: TypeAlias = Annotated[
    bool, typer.Option("--allow-missing", help="Leave tensors without a scale float, instead of refusing.")
]

CustomOps: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--custom-ops",
        metavar="FILE",
        help="Shared library with operators that ONNX Runtime lacks, or Python file whose library() names one; repeatable.",
    ),
]

Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="PATH",
        rich_help_panel=DATA_PANEL,
        help="Folder of images, list.txt, manifest.csv, .npz, .npy or .h5 file, or loader.py with load_data() "
        "(loader.py:function for another name).",
    ),
]
Preprocess: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|JSON",
        rich_help_panel=DATA_PANEL,
        help="What happens to each image: a .yaml or .json file, or inline JSON. The options below override its fields.",
    ),
]
Resize: TypeAlias = Annotated[
    str | None, typer.Option(metavar="H,W|SHORT", rich_help_panel=DATA_PANEL, help="Height,width, or the short side.")
]
Crop: TypeAlias = Annotated[
    str | None, typer.Option(metavar="H,W", rich_help_panel=DATA_PANEL, help="Cut from the centre, after resizing.")
]
Layout: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NCHW|NHWC", rich_help_panel=DATA_PANEL, help="Where the channels are.")
]
Color: TypeAlias = Annotated[
    str | None, typer.Option(metavar="RGB|BGR|GRAY", rich_help_panel=DATA_PANEL, help="Channels.")
]
ScaleBy: TypeAlias = Annotated[
    str | None,
    typer.Option("--scale", metavar="X", rich_help_panel=DATA_PANEL, help="Factor on 0 … 255, such as 1/255."),
]
Mean: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="X,…", rich_help_panel=DATA_PANEL, help="Subtracted after scaling; one, or one a channel."),
]
Std: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="X,…", rich_help_panel=DATA_PANEL, help="Divisor after that; one, or one a channel."),
]
Batch: TypeAlias = Annotated[int, typer.Option(min=1, rich_help_panel=DATA_PANEL, help="Samples read at a time.")]
Input: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=DATA_PANEL, help="The model's input, if it has several."),
]
LabelPattern: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        rich_help_panel=DATA_PANEL,
        help="Label in an image's file name, as the expression's one group.",
    ),
]
SkipBad: TypeAlias = Annotated[
    bool, typer.Option("--skip-bad", rich_help_panel=DATA_PANEL, help="Leave out unreadable images, and count them.")
]
Random: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=DATA_PANEL,
        help="N random samples instead of data: to try things out. Every artefact says so for ever.",
    ),
]


WORKERS_PANEL = "Workers"

Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        rich_help_panel=WORKERS_PANEL,
        help="Share the samples out to N processes, each with an engine; the bytes are those of one process.",
    ),
]
WorkersEngine: TypeAlias = Annotated[
    str,
    typer.Option("--engine", metavar="processes|ray", rich_help_panel=WORKERS_PANEL, help="What the workers are."),
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", rich_help_panel=WORKERS_PANEL, help="A Ray cluster's; without, Ray starts here."),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="K", rich_help_panel=WORKERS_PANEL, help="Of each worker; the cores shared out."),
]
Timeout: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="S",
        rich_help_panel=WORKERS_PANEL,
        help="End a worker that takes longer for a shard, and do the shard once more.",
    ),
]
AllowMixed: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-mixed",
        rich_help_panel=WORKERS_PANEL,
        help="Let workers of several processor types or runtime versions count together; the result names them.",
    ),
]


def workers(
    count: int | None,
    engine: str,
    *,
    address: str | None,
    threads: int | None,
    timeout: float | None,
    allow_mixed: bool,
) -> Any:
    """Return the declared workers."""
    from quantlab.errors import UsageError
    from quantlab.workers.declared import Workers as Declared

    if engine not in ("processes", "ray"):
        raise UsageError(f"--engine is processes or ray, not «{engine}».")
    asked = 2 if count is None and engine == "ray" else count
    return Declared(
        workers=asked,
        kind="ray" if engine == "ray" else "processes",
        address=address,
        threads=threads,
        timeout=timeout,
        allow_mixed=allow_mixed,
    )


def preprocess_fields(declared: str | None, **shortcuts: str | None) -> dict[str, Any] | None:
    """Return the fields of a preprocessing from --preprocess and its shortcuts; None if none was given."""
    from quantlab.jobs.preprocessing import read_preprocess

    fields = {} if declared is None else read_preprocess(declared)
    given = {name: _value(text) for name, text in shortcuts.items() if text is not None}
    return fields | given if declared is not None or given else None


def data_source(
    data: str | None,
    preprocess: Mapping[str, Any] | None,
    *,
    batch: int,
    input: str | None,  # noqa: A002 - the word for it
    label_pattern: str | None,
    skip_bad: bool,
    random: int | None,
) -> Any:
    """Return the declared data source."""
    from quantlab.errors import UsageError
    from quantlab.jobs.data_source import DataSource
    from quantlab.jobs.preprocessing import preprocess_of

    if (data is None) == (random is None):
        raise UsageError("Give --data PATH, or --random N to try things out without data; one of the two.")
    return DataSource(
        place=data,
        preprocess=None if preprocess is None else preprocess_of(preprocess),
        batch=batch,
        input=input,
        label_pattern=label_pattern,
        skip_bad=skip_bad,
        random=random,
    )


def quantize_options(
    target: str, weights: str, head: str, *, allow_missing: bool, keep_float: tuple[str, ...] = ()
) -> "QuantizeOptions":
    """Return how a Q/DQ model is to be built; typer's own choices come with its later versions only."""
    from quantlab.builder import QuantizeOptions
    from quantlab.errors import UsageError
    from quantlab.jobs.checks import check_target

    check_target(target)
    if weights not in ("int8", "qdq"):
        raise UsageError(f"--weights is int8 or qdq, not «{weights}».")
    if head not in ("float", "int8"):
        raise UsageError(f"--head is float or int8, not «{head}».")
    return QuantizeOptions(
        target,
        "int8" if weights == "int8" else "qdq",
        "int8" if head == "int8" else "float",
        allow_missing,
        keep_float,
    )


def _value(text: str) -> Any:
    """Return «224,224» as a list of numbers, «256» and «1/255» as a number, other text as it is."""
    parts = [_number(part.strip()) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts


def _number(text: str) -> Any:
    return int(text) if text.isdecimal() else text
