"""The entropy search against obvious slow twins, and against TensorRT 8.6's own caches (test_tensorrt_methods.py)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64, I64, AnyArray
from quantlab.numerics.divergence import DIALECT_NAMES, divergence_curve, entropy_threshold

LEVELS = 128
RULES = {  # facts: (bins[0] := bins[1], last prefix tried − all bins, which of equals wins, half bins added)
    "quantlab": (False, 0, "last", 0.0),
    "gtc2017": (False, -1, "first", 0.5),
    "tensorrt": (True, 0, "first", 0.5),
}


def plain_divergences(counts: I64, *, copied: bool, last: int) -> F64:
    """KL(P‖Q) of every prefix from 128 bins on, one after the other; infinite where Q is empty."""
    bins, found = counts.astype(np.float64), []
    if copied:
        bins[0] = bins[1]
    for kept in range(LEVELS, max(bins.size + last, LEVELS) + 1):
        head = bins[:kept]
        level = np.arange(kept) * LEVELS // kept
        filled = head > 0
        sums = np.bincount(level, head, LEVELS)
        sizes = np.bincount(level, filled, LEVELS)
        q = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
        p = head.copy()
        p[-1] += bins[kept:].sum()
        found.append(float(entropy(p, q)) if q.any() else np.inf)
    return np.array(found)


def plain_threshold(counts: I64, width: float, dialect: str) -> float:
    """The prefix of least divergence; where no prefix has a finite one, nothing is clipped."""
    copied, last, tie, offset = RULES[dialect]
    divergences = plain_divergences(counts, copied=copied, last=last)
    least = np.flatnonzero(divergences == divergences.min())
    best = least[0] if tie == "first" and np.isfinite(divergences.min()) else least[-1]
    return float((LEVELS + best + offset) * width)


def pytorch_quantization_amax(counts: I64, edges: AnyArray) -> float:
    """What pytorch-quantization does: numpy.digitize, scipy.stats.entropy, the last argmin, NaN and all."""
    bins, divergences = counts.copy(), []
    bins[0] = bins[1]
    for kept in range(LEVELS, bins.size + 1):
        level = np.digitize(np.arange(kept), np.linspace(0, kept, num=LEVELS + 1)) - 1
        filled = bins[:kept] != 0
        sums = np.bincount(level[filled], bins[:kept][filled], LEVELS)
        sizes = np.bincount(level[filled], minlength=LEVELS)
        q = np.zeros(kept)
        q[filled] = sums[level[filled]] / sizes[level[filled]]
        p = bins[:kept].copy()
        p[-1] += bins[kept:].sum()
        with np.errstate(all="ignore"):
            divergences.append(entropy(p, q))
    return float(edges[LEVELS + len(divergences) - 1 - int(np.argmin(divergences[::-1]))])


def one_bin(index: int, bins: int = 2048) -> I64:
    counts = np.zeros(bins, np.int64)
    counts[index] = 1000
    return counts


def histograms(bins: int) -> dict[str, I64]:
    rng = np.random.default_rng(bins)
    falling = np.exp(-np.arange(bins) / (bins / 8))
    relu = rng.poisson(1000 * falling)
    relu[0] = 500_000
    tail = rng.poisson(2000 * falling)
    tail[bins * 2 // 3 :] = 0
    spiky = rng.poisson(5, bins)
    spiky[rng.integers(0, bins, 6)] += 100_000
    outlier = rng.poisson(500 * falling**4)
    outlier[-1] += 1
    return {
        "random": rng.integers(0, 1000, bins),
        "falling": rng.poisson(1000 * falling),
        "sparse": (rng.random(bins) < 0.03).astype(np.int64) * rng.integers(1, 50, bins),
        "constant": np.full(bins, 7, np.int64),
        "ones": np.ones(bins, np.int64),
        "spiky": spiky,
        "relu-like": relu,
        "tiny": rng.poisson(0.01, bins),
        "with zeros": rng.integers(0, 2, bins) * rng.integers(0, 9, bins),
        "empty at the end": tail,
        "an outlier": outlier,
        "rising": np.arange(bins, dtype=np.int64),
        "saturated": np.append(rng.poisson(50, bins - 1), 1_000_000),
        "large counts": rng.poisson(1000 * falling) * 2**33,
    }


small_histograms = st.one_of(
    arrays(np.int64, st.integers(128, 200), elements=st.integers(0, 3)),
    arrays(np.int64, st.integers(128, 200), elements=st.integers(0, 10**6), fill=st.just(0)),
    st.builds(one_bin, st.integers(0, 127), st.integers(128, 200)),
)
WIDTHS = st.floats(1e-30, 1e30)


@pytest.mark.parametrize("dialect", RULES)
@settings(max_examples=25, deadline=None)
@given(small_histograms, WIDTHS)
def test_small_histograms_give_the_plain_loops_threshold(dialect: str, counts: I64, width: float) -> None:
    assert entropy_threshold(counts, width, dialect=dialect) == plain_threshold(counts, width, dialect)


@pytest.mark.parametrize("dialect", RULES)
@pytest.mark.parametrize("kind", histograms(700))
def test_the_plain_loops_threshold_is_found(kind: str, dialect: str) -> None:
    counts = histograms(700)[kind]
    assert entropy_threshold(counts, 0.37, dialect=dialect) == plain_threshold(counts, 0.37, dialect)


@pytest.mark.parametrize("kind", ["falling", "relu-like"])
def test_all_2048_bins_give_the_plain_loops_threshold(kind: str) -> None:
    counts = histograms(2048)[kind]
    for dialect in RULES:
        assert entropy_threshold(counts, 1.0, dialect=dialect) == plain_threshold(counts, 1.0, dialect)


@pytest.mark.parametrize("kind", histograms(700))
def test_the_closed_form_gives_every_candidates_divergence(kind: str) -> None:
    counts = histograms(700)[kind]
    for dialect, (copied, last, _, _) in RULES.items():
        curve = divergence_curve(counts, 1.0, dialect=dialect)
        plain = plain_divergences(counts, copied=copied, last=last)
        assert curve.kept.tolist() == list(range(LEVELS, 700 + last + 1))
        finite = np.isfinite(plain)
        assert np.array_equal(np.isfinite(curve.divergences), finite)
        assert np.abs(curve.divergences[finite] - plain[finite]).max(initial=0) < 1e-12


@settings(max_examples=50, deadline=None)
@given(small_histograms, WIDTHS)
def test_small_histograms_give_exactly_what_pytorch_quantization_returns(counts: I64, width: float) -> None:
    expected = pytorch_quantization_amax(counts, width * np.arange(counts.size + 1))
    assert entropy_threshold(counts, width, dialect="pytorch-quantization") == expected


@pytest.mark.parametrize("kind", histograms(2048))
def test_exactly_what_pytorch_quantization_returns(kind: str) -> None:
    counts, width = histograms(2048)[kind], 0.1234567
    expected = pytorch_quantization_amax(counts, width * np.arange(2049))
    assert entropy_threshold(counts, width, dialect="pytorch-quantization") == expected


@pytest.mark.parametrize("index", [0, 1, 2, 127, 128, 129, 2000, 2046, 2047])
def test_exactly_what_pytorch_quantization_returns_for_all_mass_in_one_bin(index: int) -> None:
    expected = pytorch_quantization_amax(one_bin(index), np.arange(2049.0))
    assert entropy_threshold(one_bin(index), 1.0, dialect="pytorch-quantization") == expected


@pytest.mark.parametrize("bins", [128, 129, 255, 256, 257, 300, 1000, 1023])
@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_any_number_of_bins_from_128_on_works(dialect: str, bins: int) -> None:
    counts = histograms(bins)["falling"]
    if dialect == "mxnet":
        assert 0 < entropy_threshold(counts, 1.0, dialect=dialect) <= bins
    elif dialect == "pytorch-quantization":
        assert entropy_threshold(counts, 1.0, dialect=dialect) == pytorch_quantization_amax(
            counts, np.arange(bins + 1.0)
        )
    else:
        assert entropy_threshold(counts, 1.0, dialect=dialect) == plain_threshold(counts, 1.0, dialect)


@pytest.mark.parametrize("dialect", [d for d in DIALECT_NAMES if d != "pytorch-quantization"])
@pytest.mark.parametrize("index", [128, 1000, 1800, 2046])
def test_a_candidate_that_clips_everything_never_wins(dialect: str, index: int) -> None:
    assert entropy_threshold(one_bin(index), 1.0, dialect=dialect) >= index


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize("kind", ["random", "sparse", "relu-like", "an outlier"])
def test_the_threshold_lies_on_the_grid(dialect: str, kind: str) -> None:
    counts = histograms(700)[kind]
    curve = divergence_curve(counts, 2.0, dialect=dialect)
    amax = entropy_threshold(counts, 2.0, dialect=dialect)
    assert amax == curve.thresholds[curve.best]
    assert 127 * 2.0 < amax <= 700.5 * 2.0
    assert curve.divergences[curve.best] == np.nanmin(curve.divergences) >= 0


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@given(power=st.integers(-60, 60))
@settings(max_examples=8, deadline=None)
def test_the_threshold_is_proportional_to_the_width(dialect: str, power: int) -> None:
    counts = histograms(300)["falling"]
    expected = np.ldexp(entropy_threshold(counts, 0.7, dialect=dialect), power)
    assert entropy_threshold(counts, float(np.ldexp(0.7, power)), dialect=dialect) == expected


@pytest.mark.parametrize("dialect", RULES)
def test_counting_everything_again_changes_nothing(dialect: str) -> None:
    counts = histograms(700)["falling"]
    assert entropy_threshold(counts * 1024, 1.0, dialect=dialect) == entropy_threshold(counts, 1.0, dialect=dialect)


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_search_leaves_its_histogram_as_it_is(dialect: str) -> None:
    counts = histograms(300)["relu-like"]
    before = counts.copy()
    entropy_threshold(counts, 1.0, dialect=dialect)
    divergence_curve(counts, 1.0, dialect=dialect)
    assert np.array_equal(counts, before)
    counts.flags.writeable = False
    assert entropy_threshold(counts, 1.0, dialect=dialect) == entropy_threshold(before, 1.0, dialect=dialect)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.uint32, np.uint64, np.int64])
def test_any_integer_type_and_stride_will_do(dtype: Any) -> None:
    counts = (histograms(300)["random"] % 100).astype(dtype)
    expected = entropy_threshold(counts.astype(np.int64), 1.0)
    assert entropy_threshold(counts, 1.0) == expected
    assert entropy_threshold(np.repeat(counts, 2)[::2], 1.0) == expected
    assert entropy_threshold(counts.tolist(), 1.0) == expected


def test_the_copied_first_bin_does_not_dominate_but_a_kept_one_does() -> None:
    counts = histograms(2048)["relu-like"]
    assert entropy_threshold(counts, 1.0, dialect="gtc2017") < 200
    assert entropy_threshold(counts, 1.0, dialect="tensorrt") > 1000


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (np.ones(127, np.int64), r"at least 128 bins in one row, not \[127\]"),
        (np.ones((2, 200), np.int64), r"not \[2, 200\]"),
        (np.array(3), r"not \[\]"),
        (np.ones(200), "integer counts"),
        (np.ones(200, np.bool_), "integer counts"),
        (np.array([1] * 199 + [-1]), "integer counts ≥ 0"),
    ],
)
def test_counts_that_are_none_are_refused(dialect: str, counts: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        entropy_threshold(counts, 1.0, dialect=dialect)


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    with pytest.raises(InputError, match="positive bin width"):
        entropy_threshold(np.ones(200, np.int64), width)


def test_an_unknown_dialect_lists_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match="«trt»; the known ones are quantlab, gtc2017, tensorrt, pytorch-quantization, mxnet"
    ):
        entropy_threshold(np.ones(200, np.int64), 1.0, dialect="trt")
