"""`quantlab inspect`: what a runtime made of a network."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.audit.audit import Audit
    from quantlab.audit.difference import Difference
    from quantlab.audit.layers import LayerRow
    from quantlab.calibration.scale_table import ScaleTable
    from quantlab.graph.model import Model

_PLAN = described(
    "Audit a TensorRT engine from the report that its inspector gave: which layers run in INT8, FP16 and FP32, fused "
    "with what, how long they take, and which tensors did not become INT8 and why. Needs neither TensorRT nor a GPU.",
    examples=(
        "quantlab inspect plan model.plan --model model.onnx --scales run/int8.cache",
        "quantlab inspect plan layers.json.gz --model model.int8.onnx --profile profile.json --json",
        "quantlab inspect plan implicit.plan --against qdq.plan",
    ),
)
_PLANS = (".plan", ".engine", ".trt")
_LARGEST = 1 << 28

Scales = Annotated[
    Path | None, typer.Option(metavar="SCALES", help="The scales it was built with: a scale table or a cache.")
]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(no_args_is_help=True, help="See what a runtime made of a network.")
    group.command("plan", help=_PLAN)(_plan)
    app.add_typer(group, name="inspect")


def _plan(
    file: Annotated[
        Path, typer.Argument(metavar="PLAN|LAYERS.json", help="The inspector's report (.json, .json.gz), or the plan.")
    ],
    *,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help="The model that it was built from, or the float one.")
    ] = None,
    scales: Scales = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Milliseconds a layer; for a plan, the file beside it.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="PLAN|LAYERS.json", help="Another engine of the same network.")
    ] = None,
    against_profile: Annotated[
        Path | None, typer.Option(metavar="JSON", help="The other engine's milliseconds a layer, as --profile.")
    ] = None,
    optimization_profile: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Which profile's layers, from 0, of both; by default that of the times, or the first.",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.audit.difference import difference
    from quantlab.builder import check_model
    from quantlab.errors import UsageError
    from quantlab.graph.model import load_model
    from quantlab.jobs.quantizing import read_scales

    if against_profile is not None and against is None:
        raise UsageError("--against-profile times the engine of --against, which is not given.")
    loaded = None if model is None else load_model(model)
    table = None if scales is None else read_scales(scales, loaded)
    if table is not None and loaded is not None:
        check_model(table.provenance, loaded)
    number = optimization_profile
    audit = _audited(file, profile, loaded, table, number)
    other = None if against is None else _audited(against, against_profile, loaded, None, number)
    if other is not None and against is not None and number is None and audit.profile != other.profile:
        # Both at the profile that is timed, or their layers would be of different shapes.
        if audit.milliseconds is None and other.milliseconds is not None:
            audit = _audited(file, profile, loaded, table, other.profile)
        else:
            other = _audited(against, against_profile, loaded, None, audit.profile)
    out = Output(as_json, quiet)
    _show(out, file, audit)
    found = None if other is None else difference(audit, other)
    if found is not None and against is not None:
        _show_difference(out, file, against, found)
    out.result(
        {
            "plan": file,
            "summary": audit.summary(),
            "counts": audit.counts,
            "macs": audit.macs,
            "times": audit.times,
            "reformats": audit.reformats,
            "qdq_alone": audit.qdq_alone,
            "audit": audit.to_json(),
            "against": against,
            "difference": None if found is None else found.to_json(),
        }
    )


def _audited(
    file: Path, profile: Path | None, model: Model | None, table: ScaleTable | None, number: int | None
) -> Audit:
    from quantlab.audit.audit import audit_engine
    from quantlab.audit.profile import parse_profile
    from quantlab.engines.tensorrt.plan import check_layers
    from quantlab.errors import InputError, StaleError, UsageError

    report = _report(file)
    beside = report.with_name(f"{report.name.removesuffix('.gz').removesuffix('.layers.json')}.profile.json")
    if profile is None and beside != report and beside.is_file():
        profile = beside
    given = None if profile is None else _text(profile, "a profile")
    text = _text(report, "a report of TensorRT's engine inspector")
    if report != file:
        check_layers(file, report, text)
    read = profile
    try:
        times = None if given is None else parse_profile(given)
        read = report
        return audit_engine(text, model=model, table=table, profile=times, optimization_profile=number)
    except (InputError, StaleError, UsageError) as error:  # there may be four files: tell which
        raise type(error)(f"'{read}': {error}") from error


def _report(file: Path) -> Path:
    """Return where the inspector's report is: the file itself, or what lies beside a plan."""
    from quantlab.errors import InputError
    from quantlab.storage.text import check_file

    if file.suffix.lower() not in _PLANS:
        return file
    check_file(file, "a plan")
    names = (f"{file.name}.layers.json", f"{file.name}.layers.json.gz")
    found = next((path for name in names if (path := file.with_name(name)).is_file()), None)
    if found is None:
        raise InputError(
            f"'{file}' is a plan, which only its own TensorRT can read, and there is no '{names[0]}' beside it. "
            "`quantlab build` writes one on a machine with a GPU, as only a loaded plan tells its layers; trtexec does with "
            "--profilingVerbosity=detailed --exportLayerInfo=FILE."
        )
    return found


def _text(path: Path, what: str) -> str:
    from quantlab.errors import InputError
    from quantlab.storage.text import check_file, read_text

    if path.suffix.lower() != ".gz":
        return read_text(path, what)
    check_file(path, what)
    try:
        with gzip.open(path) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise InputError(f"'{path}' unpacks to more than {_LARGEST:,} bytes; {what} has less: give another file.")
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not {what}: it cannot be unpacked as gzip and UTF-8 ({error}).") from error


def _show(out: Output, file: Path, audit: Audit) -> None:
    work = sum(audit.macs.values())
    timed = audit.milliseconds is not None
    columns = ("layer", "kind", "precision", "weights", *(("MACs %",) if work else ()))
    columns += ("ms", "time %") if timed else ()
    out.table(columns, [_line(row, work, timed=timed) for row in audit.layers])
    left = [t for t in audit.tensors if t.state in ("float", "converted")]
    if left:
        out.say("Tensors that are not INT8, or not everywhere")
        out.table(("tensor", "state", "reason", "precision", "why"), [
            (t.tensor, t.state, t.reason or "–", t.precision, t.explanation) for t in left
        ])  # fmt: skip
    if audit.findings:
        out.say("Findings")
        out.table(
            ("severity", "rule", "place", "what is wrong", "what to do"),
            [(f.severity, f.rule, f.node or f.tensor, f.message, f.fix) for f in audit.findings],
        )
    out.say(f"{file}: {audit.summary()}")


def _line(row: LayerRow, work: int, *, timed: bool) -> tuple[object, ...]:
    macs = (f"{100 * (row.macs or 0) / work:.2f}",) if work else ()
    times = (row.milliseconds, None if row.share is None else 100 * row.share) if timed else ()
    return (row.name, row.kind if row.role != "qdq" else f"{row.kind} (Q/DQ)", row.types, row.weights, *macs, *times)


def _show_difference(out: Output, file: Path, against: Path, found: Difference) -> None:
    out.say(f"Differences between {file} (first) and {against} (second)")
    if found.changes:
        rows = [(", ".join(g.nodes), ", ".join(g.kinds), g.how, *g.milliseconds) for g in found.changes]
        out.table(("nodes", "in", "how", "first ms", "second ms"), rows)
    for name, only in (("first", found.only_first), ("second", found.only_second)):
        if only:
            out.say(f"Only in the {name}")
            out.table(("layer", "kind", "precision", "ms"), [(r.name, r.kind, r.types, r.milliseconds) for r in only])
    out.say(found.summary())
