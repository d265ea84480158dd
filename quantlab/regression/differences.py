"""What two runs do not have in common, in words that go after «Between these runs changed:»."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from quantlab.calibration.provenance import DataIdentity
from quantlab.numerics.affine import QuantParams
from quantlab.regression.run import Run


def differences(baseline: Run, candidate: Run) -> tuple[str, ...]:
    """Return one phrase for each thing that changed, causes first; empty if nothing that is known of did."""
    found = [
        *_digest("the model", model_of(baseline), model_of(candidate)),
        *_calibration(baseline, candidate),
        *_text("the method", *methods_of(baseline, candidate)),
        *_text("the target", baseline.target, candidate.target),
        *_evaluation(baseline.comparison.data, candidate.comparison.data),
        *_versions(baseline.versions, candidate.versions),
        *_text("what runs INT8", baseline.comparison.backends.int8, candidate.comparison.backends.int8),
        *_text("what runs FP32", baseline.comparison.backends.fp32, candidate.comparison.backends.fp32),
    ]
    # Where a cause is known, other scales are its consequence, and another INT8 model that of other scales.
    found = found or [*_scales(baseline, candidate)]
    return tuple(found or _digest("the INT8 model", baseline.int8_model, candidate.int8_model))


def model_of(run: Run) -> str:
    """Return the float model's digest; empty if it is not known."""
    provenance = run.scales.provenance if run.scales is not None else None
    return run.model or (provenance.model if provenance is not None else "")


def methods_of(baseline: Run, candidate: Run) -> tuple[str, str]:
    """Return both calibration methods in the same words: the runs' own if both have one, else as their scales name them.

    A job says «squared-error» for what a table calls «SquaredError()».
    """
    if baseline.method and candidate.method:
        return baseline.method, candidate.method
    named = (_named(baseline), _named(candidate))
    return named if all(named) else (baseline.method, candidate.method)


def _named(run: Run) -> str:
    """Return the method of most activations; empty if no scales tell."""
    rows = run.scales.rows if run.scales is not None else ()
    used = Counter(row.method for row in rows if row.role != "weight" and row.method)
    return used.most_common(1)[0][0] if used else ""


def calibration_of(run: Run) -> tuple[DataIdentity, ...]:
    """Return the sets that had a say in the scales, by digest; those that the comparison names, if no table does."""
    provenance = run.scales.provenance if run.scales is not None else None
    sets = provenance.chosen_on if provenance is not None else run.comparison.chosen_on
    return tuple(sorted(sets, key=lambda data: data.digest))


def _calibration(baseline: Run, candidate: Run) -> Iterator[str]:
    one, two = calibration_of(baseline), calibration_of(candidate)
    if not one or not two:
        return
    if [data.digest for data in one] != [data.digest for data in two]:
        yield f"the calibration data ({_sets(one)} → {_sets(two)})"
    changed = _preprocessing([data.preprocess for data in one], [data.preprocess for data in two])
    if changed:
        yield f"the calibration's preprocessing ({changed})"


def _scales(baseline: Run, candidate: Run) -> Iterator[str]:
    if baseline.scales is not None and candidate.scales is not None:
        one, two = ({row.tensor: row.params for row in run.rows} for run in (baseline.scales, candidate.scales))
        other = [name for name in dict.fromkeys([*one, *two]) if _steps(one.get(name)) != _steps(two.get(name))]
        if other:
            yield f"the scales of {len(other)} of {len(two)} tensors"


def _steps(params: QuantParams | None) -> tuple[bytes, bytes, str] | None:
    return None if params is None else (params.scale.tobytes(), params.zero_point.tobytes(), params.dtype)


def _evaluation(one: DataIdentity, two: DataIdentity) -> Iterator[str]:
    if one.digest != two.digest:
        yield f"the evaluation set ({_sets((one,))} → {_sets((two,))})"
    changed = _preprocessing([one.preprocess], [two.preprocess])
    if changed:
        yield f"the evaluation's preprocessing ({changed})"


def _versions(one: Mapping[str, str], two: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*one, *two]):
        yield from _text(name, one.get(name, ""), two.get(name, ""))


def _text(what: str, one: str, two: str) -> Iterator[str]:
    if one != two and one and two:
        yield f"{what} ({one} → {two})"


def _digest(what: str, one: str, two: str) -> Iterator[str]:
    if one != two and one and two:
        yield f"{what} ({_short(one)} → {_short(two)})"


def _sets(sets: tuple[DataIdentity, ...]) -> str:
    return ", ".join(f"«{data.name}», {data.count:,} samples" for data in sets)


def _preprocessing(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> str:
    """Return the options that differ between the first sets that have any."""
    old = next((found for found in one if found), {})
    new = next((found for found in two if found), {})
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {_shown(old, name)} → {_shown(new, name)}" for name in names)


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = str(values.get(name, "not given"))
    return text if len(text) <= 40 else f"{text[:40]}…"


def _short(digest: str) -> str:
    kind, colon, digits = digest.partition(":")
    return f"{kind}{colon}{digits[:8]}…" if len(digits) > 8 else digest
