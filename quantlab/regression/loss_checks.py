"""Judges losses: one is shown, or excluded, or neither."""

from collections.abc import Sequence

from quantlab.comparison.statistics import Interval
from quantlab.regression.asked import Asked, AskedSlices
from quantlab.regression.check import Check, State
from quantlab.regression.losses import Loss
from quantlab.regression.multiple import benjamini_hochberg
from quantlab.regression.policy import Policy
from quantlab.regression.regression import Slice
from quantlab.regression.sample_size import samples_to_exclude_a_loss, samples_to_show_a_loss
from quantlab.regression.words import amount, chance, rounded, spread


def loss_check(asked: Asked, p_value: float, policy: Policy) -> Check:
    """Return whether more than the limit is lost.

    Broken: a larger loss than `maximum` is significant. Passed: a loss of `maximum` and `resolution` together is outside the
    interval, whose upper end holds with 1 − alpha; that all checks have to pass makes a correction for several needless
    there (Berger, Technometrics 24, 1982, 295-300). Warned: it is passed, but a loss within `maximum` is significant.

    Parameters
    ----------
    p_value
        Corrected, that no more than the maximum is lost.
    """
    interval = asked.loss.interval(1 - 2 * policy.alpha)
    state: State = "inconclusive"
    if p_value <= policy.alpha:
        state = asked.limit.level
    elif interval.high <= asked.excluded and _varies(asked.loss):
        state = "warn" if asked.maximum > 0 and asked.loss.p_value(0.0) <= policy.alpha else "pass"
    needed = needed_samples(asked, policy) if state == "inconclusive" else None
    if p_value <= policy.alpha:
        sentence = _broken(asked, interval, p_value)
    else:
        sentence = _unbroken(asked, interval, state, needed)
    return _check(asked, state, interval, p_value, sentence, needed)


def unchanged_check(asked: Asked, policy: Policy) -> Check:
    """Return the check of two networks whose outputs are the same bits: nothing is lost, and nothing left to chance."""
    sentence = (
        f"{asked.name} is {_score(asked.loss, 1)}, as the baseline's is: both networks answer alike, bit for bit."
    )
    return _check(asked, "pass", Interval(0.0, 0.0, 1 - 2 * policy.alpha), None, sentence, None)


def _check(
    asked: Asked, state: State, interval: Interval, p_value: float | None, sentence: str, needed: int | None
) -> Check:
    loss = asked.loss
    one, two = loss.scores
    return Check(
        asked.name,
        state,
        loss.drop,
        asked.maximum,
        interval,
        p_value,
        sentence,
        needed,
        loss.unit,
        asked.limit.level,
        one,
        two,
    )


def needed_samples(asked: Asked, policy: Policy) -> int | None:
    """Return how many samples would decide, if the shares stay as they are: to show the loss, or to exclude it, whichever is less.

    Both with the policy's power. More than there are, in any case.
    """
    loss = asked.loss
    drop, variance = loss.drop, loss.variance
    levels = {"alpha": policy.alpha, "power": policy.power}
    found = [samples_to_exclude_a_loss(variance, drop, asked.excluded, **levels)]
    if loss.binary and asked.maximum == 0:
        discordant = (loss.counts.first_only + loss.counts.second_only) / max(loss.samples, 1)
        found.append(samples_to_show_a_loss(discordant, drop / 100, **levels))
    else:
        found.append(samples_to_exclude_a_loss(variance, -drop, -asked.maximum, **levels))
    known = [count for count in found if count is not None]
    return max(min(known), loss.samples + 1) if known else None


def slices_check(
    asked: AskedSlices, p_values: Sequence[float], policy: Policy, *, identical: bool
) -> tuple[Check, tuple[Slice, ...]]:
    """Return the check of one slicing, and its slices, the worst first."""
    limit = asked.limit
    if not asked.losses:
        return _no_slices(asked, identical=identical), ()
    scores = benjamini_hochberg([loss.p_value(asked.maximum) for loss in asked.losses])
    found = [
        _slice(asked, place, (p, float(q)), policy, identical=identical)
        for place, (p, q) in enumerate(zip(p_values, scores, strict=True))
    ]
    found.sort(key=lambda part: (part.p_value, -part.drop))
    worst, unit = found[0], asked.whole.unit
    states = {part.state for part in found}
    state: State = next((s for s in (limit.level, "inconclusive") if s in states), "pass")
    broken = [part for part in found if part.state == limit.level]
    check = Check(
        f"{asked.whole.metric} by {limit.by}",
        state,
        worst.drop,
        asked.maximum,
        worst.interval,
        None if identical else worst.p_value,
        _slices_sentence(asked, found, broken, state=state, identical=identical),
        None,
        unit,
        limit.level,
        worst.baseline,
        worst.candidate,
    )
    return check, tuple(found)


def _slice(asked: AskedSlices, place: int, p_values: tuple[float, float], policy: Policy, *, identical: bool) -> Slice:
    loss = asked.losses[place]
    level = 1 - 2 * policy.alpha
    interval = Interval(0.0, 0.0, level) if identical else loss.quick_interval(level)
    one, two = loss.scores
    worse, better = loss.moved
    state: State = "pass"
    if not identical and p_values[0] <= policy.alpha:
        state = asked.limit.level
    elif asked.excluded is not None and (interval.high > asked.excluded or not _varies(loss)):
        state = "inconclusive"
    return Slice(
        asked.limit.by, asked.names[place], loss.samples, loss.metric, one, two, loss.drop, interval, loss.unit,
        worse, better, p_values[0], p_values[1], state,
    )  # fmt: skip


def _no_slices(asked: AskedSlices, *, identical: bool) -> Check:
    limit = asked.limit
    sentence = f"No slice «{limit.by}» has {limit.least} samples or more, so none is judged."
    state: State = "pass" if identical else "inconclusive"
    return Check(f"{asked.whole.metric} by {limit.by}", state, None, None, None, None, sentence, None, "", limit.level)


def _varies(loss: Loss) -> bool:
    """Tell whether an interval excludes anything: one of a single value has no width, which is no certainty."""
    return loss.binary or loss.samples > 1


def _broken(asked: Asked, interval: Interval, p_value: float) -> str:
    allowed = f"{amount(asked.maximum, asked.loss.unit)} allowed" if asked.maximum else "no loss is allowed"
    return f"{_moved(asked, interval)}; {allowed} ({chance(p_value)})."


def _unbroken(asked: Asked, interval: Interval, state: State, needed: int | None) -> str:
    loss, moved = asked.loss, _moved(asked, interval)
    if state == "warn":
        return f"{moved}: a significant loss, but within the {amount(asked.maximum, loss.unit)} allowed."
    if state == "pass":
        return f"{moved}; a loss of {amount(asked.excluded, loss.unit)} is excluded."
    decide = f"; about {rounded(needed)} would decide" if needed else ""
    shown = (
        f"neither a loss nor its absence (to {amount(asked.excluded, loss.unit)}) is shown by {loss.samples:,} samples"
    )
    return f"{moved}: {shown}{decide}."


def _moved(asked: Asked, interval: Interval) -> str:
    loss = asked.loss
    drop = loss.drop
    how = "is unchanged at" if drop == 0 else "falls" if (drop > 0) == loss.higher_is_better else "rises"
    if drop == 0:
        return f"{asked.name} {how} {_score(loss, 1)} ({spread(interval, loss.unit)})"
    return (
        f"{asked.name} {how} from {_score(loss, 0)} to {_score(loss, 1)}: {'lost' if drop > 0 else 'gained'} "
        f"{amount(abs(drop), loss.unit)} ({spread(interval, loss.unit)})"
    )


def _score(loss: Loss, side: int) -> str:
    value = loss.scores[side]
    return f"{100 * value:.2f} %" if loss.unit else f"{value:.4g}"


def _slices_sentence(
    asked: AskedSlices, found: list[Slice], broken: list[Slice], *, state: State, identical: bool
) -> str:
    count, unit = len(found), asked.whole.unit
    if identical:
        return f"None of {count} slices «{asked.limit.by}» changes: both networks answer alike, bit for bit."
    if broken:
        listed = ", ".join(
            f"«{part.name}» {amount(part.drop, unit)} of {part.samples:,} samples" for part in broken[:3]
        )
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        return f"{len(broken)} of {count} slices «{asked.limit.by}» lose {asked.whole.metric}: {listed}{more} ({chance(broken[0].p_value)})."
    most = max(part.interval.high for part in found)
    if state == "inconclusive":
        open_ = sum(part.state == "inconclusive" for part in found)
        return f"{open_} of {count} slices «{asked.limit.by}» have too few samples to exclude a loss of {amount(asked.excluded or 0, unit)}."
    return (
        f"None of {count} slices «{asked.limit.by}» loses more {asked.whole.metric} than chance explains; they exclude losses above "
        f"{amount(max(most, 0.0), unit)}."
    )
