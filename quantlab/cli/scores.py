"""Comparisons as tables: FP32 beside INT8, with the backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from quantlab.cli.console import Output

if TYPE_CHECKING:
    from quantlab.comparison.comparison import Comparison
    from quantlab.comparison.lineup import Lineup
    from quantlab.comparison.metric_score import MetricScore
    from quantlab.comparison.tensors import TensorError
    from quantlab.comparison.three_way import ThreeWay

_WORST = 5


def show_comparison(out: Output, found: Comparison) -> None:
    """Print scores, agreement, output errors, the worst tensors, latency and what ran."""
    out.say(f"{found.samples:,} samples of «{found.data.name}» ({_standing(found)})")
    if found.metrics:
        out.table(("", "FP32", "INT8", "drop", "95 % interval", "unit"), [_score_row(m) for m in found.metrics])
    if found.agreement.samples:
        span = found.agreement_interval
        share, low, high = 100 * found.agreement.score, 100 * span.low, 100 * span.high
        out.say(f"Agreement with FP32's class: {share:.2f} % ({low:.2f} … {high:.2f})")
    for error in found.outputs:
        known = f"{error.sqnr_db:.2f} dB" if error.accumulated.count else "–, no sample has finite values in both"
        out.say(f"SQNR of «{error.tensor}»: {known}")
    if found.nan.fp32 or found.nan.int8:
        out.note(
            f"NaN in the outputs: FP32 in {found.nan.fp32:,} samples, INT8 in {found.nan.int8:,}. They count as wrong "
            "answers and are left out of the SQNR; check the preprocessing and the model."
        )
    if found.tensors:
        worst = sorted(found.tensors, key=_own_db)[:_WORST]
        rows = [(e.tensor, decibel(e.own_sqnr_db), decibel(e.sqnr_db), f"{e.max_error:.3g}") for e in worst]
        columns = ("tensor", "own SQNR dB", "accumulated SQNR dB", "largest error")
        out.say(f"The {len(worst)} of {len(found.tensors)} tensors that lose most by themselves")
        out.table(columns, rows)
    if found.latency is not None:
        out.say(f"Latency of a batch of {found.latency.batch}")
        out.table(("", "FP32", "INT8", "INT8's speed"), [latency_row(found)])
    if found.sizes is not None:
        from quantlab.jobs.sizes import shown_bytes

        out.say(f"Size: FP32 {shown_bytes(found.sizes.fp32)}, INT8 {shown_bytes(found.sizes.int8)}")
    out.say(f"FP32 ran in {found.backends.fp32}; INT8 in {found.backends.int8}{how(found)}.")


def show_lineup(out: Output, found: Lineup) -> None:
    """Print a line an engine, the reference first, and what ran."""
    from quantlab.comparison.lineup_table import table_cells

    first = found.entries[0].comparison
    standings = {_standing(entry.comparison) for entry in found.entries}
    standing = f" ({standings.pop()})" if len(standings) == 1 else ""
    interval = f"; a drop has its {100 * first.level:g} % interval" if first.metrics else ""
    out.say(f"{first.samples:,} samples of «{first.data.name}»{standing}{interval}")
    columns, rows = table_cells(found.rows())
    out.table(columns, rows)
    if any(entry.cost.times for entry in found.entries):
        pace = f"«{found.paced_by}»" if found.paced_by else "the reference"
        out.say(f"Speed is the time of {pace} over an engine's own.")
    out.say(f"The reference ran in {found.reference}.")
    for entry in found.entries:
        out.say(f"«{entry.name}» ran in {entry.comparison.backends.int8}{how(entry.comparison)}.")


def show_three_way(out: Output, found: ThreeWay) -> None:
    """Print the three steps and who is to blame."""
    steps = {
        "FP32 engine against the reference": found.build,
        "simulation against FP32": found.scales,
        "INT8 engine against the simulation": found.engine,
        "INT8 engine against the reference": found.whole,
    }
    out.say(f"{found.build.samples:,} samples of «{found.build.data.name}»")
    rows = [
        (
            step,
            decibel(min((e.sqnr_db for e in part.outputs), default=None)),
            f"{100 * part.agreement.score:.2f}" if part.agreement.samples else None,
            f"{part.metrics[0].drop:+.2f}" if part.metrics else None,
        )
        for step, part in steps.items()
    ]
    out.table(("", "SQNR dB", "agreement %", "drop, points"), rows)
    out.say(found.sentence)


def show_methods(out: Output, tuning: Mapping[str, Comparison], chosen: str) -> None:
    """Print a line a method: what its scales cost on the tuning set."""
    if not tuning:
        return
    first = next(iter(tuning.values()))
    out.say(f"Methods on {first.samples:,} samples of «{first.data.name}», INT8 in {first.backends.int8}{how(first)}")
    columns = ("method", "agreement %", "top-1 drop points", "logit SQNR dB", "")
    rows = [
        (
            method,
            f"{100 * found.agreement.score:.2f}" if found.agreement.samples else None,
            f"{found.metrics[0].drop:+.2f}" if found.metrics else None,
            decibel(min((e.sqnr_db for e in found.outputs), default=None)),
            "chosen" if method == chosen else "",
        )
        for method, found in tuning.items()
    ]
    out.table(columns, rows)


def show_finals(out: Output, finals: Mapping[str, Comparison]) -> None:
    """Print a line a model: its score on the evaluation set, and what ran it."""
    if not finals:
        return
    first = next(iter(finals.values()))
    out.say(f"Result on {first.samples:,} samples of «{first.data.name}» ({_standing(first)})")
    lines = [_final_lines(found) for found in finals.values()]
    rows = [(name, *(line[name] for line in lines)) for name in lines[0]]
    out.table(("", *finals), [row for row in rows if any(cell is not None for cell in row[1:])])
    out.say(f"FP32 ran in {first.backends.fp32}.")
    for name, found in finals.items():
        out.say(f"{name} ran in {found.backends.int8}{how(found)}.")


def _standing(found: Comparison) -> str:
    return "final" if found.final else f"not final: {found.doubt}"


def how(found: Comparison) -> str:
    """Say what it means that the backend simulates."""
    from quantlab.comparison.backends import simulated

    return ", a simulation of TensorRT" if simulated(found.backends.int8) else ""


def decibel(value: float | None) -> str | None:
    """Return an SQNR with two decimals."""
    return None if value is None else f"{value:.2f}"


def latency_row(found: Comparison) -> tuple[object, ...]:
    """Return median and spread of both, and INT8's speed."""
    times = found.latency
    if times is None:
        return ()
    return (
        "median ± spread, ms",
        f"{times.fp32_ms:.2f} ± {times.fp32_spread_ms:.2f}",
        f"{times.int8_ms:.2f} ± {times.int8_spread_ms:.2f}",
        f"{times.speed:.2f} ×",
    )


def _score_row(metric: MetricScore) -> tuple[object, ...]:
    share = metric.unit == "points"
    factor, digits = (100, 2) if share else (1, 4)
    fp32, int8 = (f"{factor * value:.{digits}f}" for value in (metric.fp32, metric.int8))
    span = f"{metric.interval.low:+.{digits}f} … {metric.interval.high:+.{digits}f}"
    return (f"{metric.name}{' %' if share else ''}", fp32, int8, f"{metric.drop:+.{digits}f}", span, metric.unit)


def _final_lines(found: Comparison) -> dict[str, str | None]:
    main = found.metrics[0] if found.metrics else None
    sizes, times = found.sizes, found.latency
    return {
        **_main_lines(main),
        "its 95 % interval": f"{main.interval.low:+.2f} … {main.interval.high:+.2f}" if main else None,
        "agreement %": f"{100 * found.agreement.score:.2f}" if found.agreement.samples else None,
        "logit SQNR dB": decibel(min((e.sqnr_db for e in found.outputs), default=None)),
        "FP32 MB": f"{sizes.fp32 / 1e6:.3f}" if sizes else None,
        "INT8 MB": f"{sizes.int8 / 1e6:.3f}" if sizes else None,
        "INT8's speed": f"{times.speed:.2f} × FP32" if times else None,
    }


def _main_lines(main: MetricScore | None) -> dict[str, str | None]:
    if main is None:
        return {}
    name, fp32, int8, drop, *_ = _score_row(main)
    return {f"FP32 {name}": str(fp32), f"INT8 {name}": str(int8), "drop" + (", points" if main.unit else ""): str(drop)}


def _own_db(error: TensorError) -> float:
    own = error.own_sqnr_db
    return error.sqnr_db if own is None else own
