"""`quantlab deploy`: bundles for Triton, for targets that build their own plan, and for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from quantlab.cli import build_flags, options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.deploy.triton import Labels
    from quantlab.deploy.verify import Verified
    from quantlab.jobs.deploying import Deployed

_TRITON = described(
    "Put a TensorRT plan or an ONNX model into a Triton model repository: config.pbtxt from the real inputs and outputs, "
    "version folder 1, checksums. Triton's own schema writes and reads the configuration, so the extra «triton» is needed.",
    examples=(
        "quantlab deploy triton int8.plan --model model.onnx -o repository",
        "quantlab deploy triton model.onnx -o repository --max-batch 16 --preferred 4,8 --queue-delay 100",
        "quantlab deploy triton run -o repository --name classifier --device cpu --instances 2",
    ),
)
_EMBEDDED = described(
    "Write a folder from which a target builds its own plan, without calibration data: the ONNX model, calibration cache, "
    "scale table, checksums, and make_plan in Python, C++ and as a trtexec command. For TensorRT 11, which has no caches, "
    "and for a model with Q/DQ, it holds the Q/DQ model instead.",
    examples=(
        "quantlab deploy embedded run -o bundle --precision int8+fp16 --archive",
        "quantlab deploy embedded job.yaml -o bundle --shapes image:1x1x8x8,8x1x8x8,16x1x8x8",
        "quantlab deploy embedded model.onnx --cache int8.cache --scales scales.json -o bundle",
        "quantlab deploy embedded int8.onnx -o bundle --tensorrt 11.0",
    ),
)
_ORT = described(
    "Write a folder that runs an INT8 model in ONNX Runtime: model, scale table, checksums, and run.py with the "
    "preprocessing that the calibration had.",
    examples=(
        "quantlab deploy onnxruntime run -o bundle",
        "quantlab deploy onnxruntime int8.onnx --scales scales.json -o bundle --archive",
    ),
)
_VERIFY = described(
    "Check a bundle: every checksum, and each part loaded again. A Triton repository is checked model by model. Nothing of a "
    "stranger's bundle is run.",
    examples=("quantlab deploy verify bundle", "quantlab deploy verify repository --json"),
)

Source: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="SOURCE", help="Output folder of `quantlab run`, its job's .yaml, or an .onnx model."),
]
Folder: TypeAlias = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write.")]
Name: TypeAlias = Annotated[str, typer.Option(help="What to call the network; by default after its file or job.")]
Archive: TypeAlias = Annotated[bool, typer.Option("--archive", help="Also write FOLDER.tar.gz.")]
Table: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="SCALES.json", help="The scale table behind a model that is given as a file.")
]
FloatModel: TypeAlias = Annotated[
    Path | None, typer.Option("--model", metavar="MODEL.onnx", help="A run's float model, where it is not beside it.")
]
LabelFile: TypeAlias = Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="A class name a line.")]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(
        no_args_is_help=True, help="Bundles for Triton, for targets that build their plan, for ONNX Runtime."
    )
    group.command("triton", help=_TRITON)(_triton)
    group.command("embedded", help=_EMBEDDED)(_embedded)
    group.command("onnxruntime", help=_ORT)(_onnxruntime)
    group.command("verify", help=_VERIFY)(_verify)
    app.add_typer(group, name="deploy")


def _triton(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A .plan with its card, an .onnx model, or a run.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPOSITORY", help="The model repository; other models stay.")
    ],
    *,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help="What a plan was built from; needed without a GPU.")
    ] = None,
    name: Name = "",
    max_batch: Annotated[
        int | None, typer.Option(min=0, help="Most samples joined; by default the plan's largest, or 32; 0: none.")
    ] = None,
    preferred: Annotated[
        str | None, typer.Option(metavar="N,N…", help="Batches to prefer; by default what the plan is tuned for.")
    ] = None,
    queue_delay: Annotated[
        int | None, typer.Option(min=0, metavar="MICROSECONDS", help="How long a request may wait for others.")
    ] = None,
    instances: Annotated[int, typer.Option(min=1, help="Copies of the network a device.")] = 1,
    device: Annotated[str, typer.Option(metavar="auto|gpu|cpu", help="Where an ONNX model runs.")] = "auto",
    labels: LabelFile = None,
    labels_output: Annotated[
        str | None, typer.Option(metavar="NAME", help="The output that the labels are of.")
    ] = None,
    archive: Archive = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.deploy.serving import Serving
    from quantlab.jobs.deployed_parts import Sources
    from quantlab.jobs.deploying import Target, deploy_triton

    serving = Serving(
        max_batch=max_batch,
        preferred=None if preferred is None else _sizes(preferred),
        queue_delay=queue_delay,
        instances=instances,
        device=device,  # type: ignore[arg-type]  # it checks the name
    )
    target = Target(output=output, name=name, archive=archive, force=force)
    named = _labels(labels, labels_output)
    _show(
        Output(as_json, quiet),
        deploy_triton(Sources(source=source, model=model), target, serving=serving, labels=named),
    )


def _embedded(
    source: Source,
    output: Folder,
    *,
    model: FloatModel = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="CACHE", help="The calibration cache of a float model that is given as a file."),
    ] = None,
    scales: Table = None,
    name: Name = "",
    tensorrt: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The target's TensorRT; by default the cache's, or 8.6.1.")
    ] = None,
    precision: build_flags.Precision = None,
    shapes: build_flags.Shapes = None,
    workspace: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most scratch memory of a layer, as 2GiB.")
    ] = None,
    dla: Annotated[int | None, typer.Option(min=0, metavar="CORE", help="Build for this DLA core.")] = None,
    gpu_fallback: Annotated[bool, typer.Option("--gpu-fallback", help="Run on the GPU what the DLA cannot.")] = False,
    archive: Archive = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.cli.plan_options import build_options
    from quantlab.jobs.deployed_parts import Sources
    from quantlab.jobs.deploying import Target, deploy_embedded

    settings = build_options(
        precision, shapes or (), (), (), workspace, int8=precision is None, dla=dla, gpu_fallback=gpu_fallback
    )
    sources = Sources(source=source, model=model, cache=cache, scales=scales)
    target = Target(output=output, name=name, archive=archive, force=force)
    _show(Output(as_json, quiet), deploy_embedded(sources, target, version=tensorrt, options=settings))


def _onnxruntime(
    source: Source,
    output: Folder,
    *,
    scales: Table = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|JSON", help="What happens to an image; by default what the calibration's images had."
        ),
    ] = None,
    labels: LabelFile = None,
    name: Name = "",
    archive: Archive = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.deployed_parts import Sources
    from quantlab.jobs.deploying import Target, deploy_onnxruntime
    from quantlab.jobs.preprocessing import preprocess_of, read_preprocess

    declared = None if preprocess is None else preprocess_of(read_preprocess(preprocess))
    target = Target(output=output, name=name, archive=archive, force=force)
    sources = Sources(source=source, scales=scales)
    _show(Output(as_json, quiet), deploy_onnxruntime(sources, target, preprocess=declared, labels=labels))


def _verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle, or a Triton model repository.")],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.deploying import verify_folder

    out = Output(as_json, quiet)
    found = verify_folder(folder)
    for one in found:
        out.remarks((*one.bundle.notes, *one.notes))
        out.say(
            f"{one.folder}: {one.bundle.kind} bundle «{one.bundle.name}», {len(one.files)} files as they were made."
        )
        _say_checks(out, one)
    out.result({"bundles": [_fields(one) for one in found]})


def _show(out: Output, done: Deployed) -> None:
    one = done.verified
    out.remarks((*one.bundle.notes, *one.notes))
    state = "written" if done.fresh else "is current: nothing changed, nothing done"
    out.say(f"{one.folder} {state} ({one.bundle.kind} bundle «{one.bundle.name}», {len(one.files)} files).")
    _say_checks(out, one)
    if done.archive is not None:
        out.say(f"{done.archive} written.")
    out.result({"output": one.folder, "fresh": done.fresh, "archive": done.archive, **_fields(one)})


def _say_checks(out: Output, one: Verified) -> None:
    for check in one.checks:
        out.say(f"  checked: {check}")


def _fields(one: Verified) -> dict[str, object]:
    bundle = one.bundle
    return {
        "folder": one.folder,
        "kind": bundle.kind,
        "name": bundle.name,
        "target": bundle.target,
        "model": bundle.model,
        "files": one.files,
        "checks": one.checks,
        "notes": (*bundle.notes, *one.notes),
    }


def _labels(path: Path | None, output: str | None) -> Labels | None:
    from quantlab.deploy.triton import Labels
    from quantlab.errors import UsageError

    if path is None and output is not None:
        raise UsageError("--labels-output says which output --labels FILE is of: give both.")
    return None if path is None else Labels(path, output)


def _sizes(text: str) -> tuple[int, ...]:
    from quantlab.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UsageError(f"--preferred is a list of batch sizes, as 4,8, not «{text[:60]}».")
    return tuple(int(part) for part in parts)
