"""What the search comes to, in words."""

from __future__ import annotations

from quantlab.tuning.score import Score
from quantlab.tuning.target import Standing, Target


def verdict(target: Target, score: Score, *, final: bool, floats: int, stopped: bool = False) -> str:
    """Return a sentence or three: what PTQ reaches, how sure that is, and what to do next.

    Parameters
    ----------
    target
        What was asked for.
    score
        The candidate's, on the evaluation set if `final`, else on the samples that chose it.
    floats
        How many operators stay float for it.
    stopped
        The search ended because the samples that chose held the target: rungs may be left.
    """
    standing = target.judged(score)
    kept = f" with {floats} operator{'s' if floats != 1 else ''} in FP16 or FP32" if floats else ""
    figures = _figures(score)
    open_ = final and stopped and target.undecided(score)
    begin = f"PTQ {'stops at' if standing == 'misses' and not open_ else 'reaches'} {figures}{kept}"
    where = f"on {score.samples:,} samples {'that chose nothing' if final else 'that it was chosen on'}"
    if open_:
        return (
            f"{begin}, {where}: what was asked ({target.sentence()}) held on the samples that chose; here the interval holds it "
            "too, but so few samples cannot tell: it is undecided. Give more of them."
        )
    if standing == "misses" and final and stopped:
        return (
            f"{begin}, {where}: what was asked ({target.sentence()}) is missed, though the samples that chose held it: they "
            "flatter. Ask for a little more, or choose on more samples, before QAT."
        )
    return f"{begin}, {where}: {_meaning(standing, target, score)}"


def _figures(score: Score) -> str:
    parts = []
    if score.drop is not None and score.drop_interval is not None:
        reach = (score.drop_interval.high - score.drop_interval.low) / 2
        what = "points" if score.metric == "other class" else f"points of {score.metric}"
        parts.append(
            f"{score.drop:.2f} ± {reach:.2f} {what}" + (" changed" if score.metric == "other class" else " lost")
        )
    if score.agreement is not None:
        parts.append(f"agreement {score.agreement:.4f}")
    if score.fidelity is not None:
        parts.append(f"fidelity {score.fidelity:.4f}")
    return ", ".join([*parts, f"SQNR {score.worst_sqnr_db:.1f} dB"])


def _meaning(standing: Standing, target: Target, score: Score) -> str:
    asked = target.sentence()
    if standing == "holds":
        return f"what was asked ({asked}) holds."
    if standing == "likely":
        samples = target.samples_needed(score)
        more = ""
        if samples is None:
            more = "; no number of samples can show that not one changes"
        elif score.samples < samples:
            more = f"; so few samples cannot show it: {samples:,} could, if none changed"
        return f"what was asked ({asked}) is likely, but not shown at {target.confidence:.0%}{more}."
    return f"what was asked ({asked}) is missed. QAT is worth it: start from these ranges and weights."
