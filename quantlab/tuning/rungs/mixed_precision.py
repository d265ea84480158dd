"""Mixed precision: the fewest operators left in float, found by their measured effect on the output."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from pydantic import TypeAdapter

from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.float_trials import FloatTrial, Memory
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.mixed_precision import MixedOptions, MixedPrecision, mixed_precision
from quantlab.tuning.score import Score
from quantlab.tuning.sensitivity import Sensitivity, measure_sensitivity
from quantlab.tuning.walking import plain, walked

RUNG = "mixed precision"
_ROWS = "float trials"
_BACK, _BACK_WALKED = 16, 4  # trials that put an operator back; each walks anew where the network is corrected


def climb(ladder: Ladder) -> None:
    """Rank the operators, and leave the fewest float that meet the target; the others are rounded on what feeds them then."""
    ground, best = ladder.ground, ladder.best
    memory, corrected = _memory(ladder), best.exact is not None
    ladder.sensitivity = sensitivity = measure_sensitivity(
        ground.scorer,
        plain(best),  # what a walk corrected hides what an operator adds, and is fitted to the others
        samples=len(ground.ranking.data),
        memory=memory,
        progress=lambda done, total: ground.watch("sensitivity of trials", done, total),
    )
    ladder.skip("sensitivity", _worst(sensitivity))
    ground.watch(f"{RUNG}: which operators", 0, None)
    options = MixedOptions(
        put_back=_BACK_WALKED if corrected else _BACK,
        prepare=(lambda candidate: walked(ladder, AdaptiveRounding(), candidate=candidate)) if corrected else None,
    )
    ladder.mixed = found = mixed_precision(
        ground.scorer, best, ground.target, sensitivity, options=options, memory=memory
    )
    if found.kept:
        ladder.attempt(RUNG, _label(found), _change(found), lambda: found.candidate)
    else:
        ladder.skip(RUNG, found.missed or "no operator in float helps")


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
