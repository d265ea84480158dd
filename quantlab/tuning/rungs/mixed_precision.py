"""Mixed precision: the fewest operators left in float, found by their measured effect on the output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from pydantic import TypeAdapter

from quantlab.graph.multiply_accumulates import integer_nodes
from quantlab.graph.normalise import normalise
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.blocks import blocks
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.float_trials import FloatTrial, Memory
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.layer import Correction
from quantlab.tuning.mixed_precision import MixedOptions, MixedPrecision, mixed_precision
from quantlab.tuning.rungs import bias_correction, rounding
from quantlab.tuning.score import Score
from quantlab.tuning.sensitivity import Sensitivity, measure_sensitivity
from quantlab.tuning.walking import plain, walked

RUNG = "mixed precision"
_ROWS = "float trials"
_BACK, _BACK_WALKED = 16, 4  # trials that put an operator back; each walks anew where the network is corrected
_WALKING = 32  # samples that go along then; the chosen network walks with all of them
_ORDERING = 16  # samples that order the operators, as many candidates run on them
_ONE_BY_ONE = 24  # operators that are ordered each by itself; more of them in parts of blocks
_ANALYTIC = "analytic"  # corrects each operator for itself, whatever the others do
_PART = 6  # the products of an attention: three projections, two of activations, and that of its result


def climb(ladder: Ladder) -> None:
    """Order the operators, and leave the fewest float that meet the target; the others are corrected for what feeds them then."""
    ground, best = ladder.ground, ladder.best
    memory, correction = _memory(ladder), _correction(ladder)
    ladder.sensitivity = sensitivity = measure_sensitivity(
        ground.scorer,
        plain(best),  # what a walk corrected hides what an operator adds, and is fitted to the others
        groups=_parts(ladder),
        samples=min(_ORDERING, len(ground.ranking.data)),
        memory=memory,
        progress=lambda done, total: ground.watch("sensitivity of trials", done, total),
    )
    ladder.skip("sensitivity", _worst(sensitivity))
    ground.watch(f"{RUNG}: which operators", 0, None)
    options = MixedOptions(
        put_back=_BACK_WALKED if correction else _BACK,
        prepare=(lambda candidate: walked(ladder, correction, candidate=candidate, samples=_WALKING))
        if correction
        else None,
    )
    ladder.mixed = found = mixed_precision(
        ground.scorer, best, ground.target, sensitivity, options=options, memory=memory
    )
    if found.kept:
        ladder.attempt(RUNG, _label(found), _change(found), lambda: _final(ladder, found, correction))
    else:
        ladder.skip(RUNG, found.missed or "no operator in float helps")


def _correction(ladder: Ladder) -> Correction | None:
    """Return what a walk corrected the best with, each operator for what those before it feed it; None: nothing did."""
    rungs = {bias_correction.RUNG, rounding.RUNG, rounding.SCALES}
    last = [trial for trial in ladder.trials if trial.kept and trial.rung in rungs][-1:]
    if not last or ladder.best.exact is None or last[0].label == _ANALYTIC:
        return None
    return EmpiricalBias() if last[0].rung == bias_correction.RUNG else AdaptiveRounding()


def _parts(ladder: Ladder) -> Mapping[str, Sequence[str]] | None:
    """Return parts of blocks, where the operators are too many to be ordered one by one."""
    model = normalise(ladder.best.model).model
    if len(integer_nodes(ladder.best.quantized().model)) <= _ONE_BY_ONE:
        return None
    return blocks(model, largest=_PART)


def _final(ladder: Ladder, found: MixedPrecision, correction: Correction | None) -> Candidate:
    """Return the chosen candidate, corrected on all samples that walk."""
    return found.candidate if correction is None else walked(ladder, correction, candidate=found.candidate)


def _memory(ladder: Ladder) -> Memory:
    adapter: TypeAdapter[Score] = TypeAdapter(Score)
    known = {key: adapter.validate_json(json.dumps(row)) for key, row in ladder.journal.rows(_ROWS).items()}

    def note(trial: FloatTrial) -> None:
        ladder.journal.add_row(_ROWS, trial.key, asdict(replace(trial.score, seconds=0.0)))
        ladder.ground.watch(RUNG, 0, None)

    return Memory(known, note)


def _label(found: MixedPrecision) -> str:
    return f"{len(found.kept)} operator{'s' if len(found.kept) != 1 else ''} in float"


def _change(found: MixedPrecision) -> str:
    names = ", ".join(found.kept[:3])
    return f"float: {names}{' …' if len(found.kept) > 3 else ''}"


def _worst(sensitivity: Sensitivity) -> str:
    first = sensitivity.rows[0]
    return f"«{first.name}» adds the most noise of {len(sensitivity.rows)}: {first.gain_db:+.2f} dB with it in float"
