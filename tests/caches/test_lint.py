"""The cache linter finds each planted fault, and nothing in a sound cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.caches.lint import LintedCache, lint_cache
from quantlab.caches.lint_lines import Reader
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.trt_cache import CacheLine, CacheText, scan_cache
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.caches.networks import HEADER, SCALES, model, text

NETWORK = CacheNetwork.of(model())
GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"


def rules(found: LintedCache, *severities: str) -> set[tuple[str, str]]:
    """Return rule and tensor of the findings; of errors and warnings if nothing is asked."""
    wanted = severities or ("error", "warning")
    return {(f.rule, f.tensor) for f in found.findings if f.severity in wanted}


def linted(**changes: float) -> LintedCache:
    """Lint the sound cache with other scales for some tensors."""
    return lint_cache(text({**SCALES, **changes}), network=NETWORK)


def test_a_sound_cache_has_no_findings() -> None:
    found = lint_cache(text(SCALES), network=NETWORK, reader=Reader("8.6.1", "EntropyCalibration2"))
    assert [(f.severity, f.rule) for f in found.findings] == [("note", "ceiling")]
    assert not found.fails(strict=True)


@pytest.mark.parametrize("tensor", [name for name in SCALES if name in NETWORK.needed and name != "flat"])
def test_a_missing_scale_is_found_wherever_a_kernel_reads_it(tensor: str) -> None:
    found = lint_cache(text({name: s for name, s in SCALES.items() if name != tensor}), network=NETWORK)
    covered = NETWORK.root(tensor) in SCALES and NETWORK.root(tensor) != tensor
    assert rules(found) == (set() if covered else {("missing", tensor)})
    assert found.fails(strict=False) is not covered


def test_a_missing_scale_is_a_note_where_it_is_meant() -> None:
    some = {name: s for name, s in SCALES.items() if name != "both"}
    found = lint_cache(text(some), network=NETWORK, missing="note")
    assert ("missing", "both") in rules(found, "note")
    assert not found.fails(strict=True)


def test_what_nobody_reads_may_be_missing() -> None:
    found = lint_cache(text({name: s for name, s in SCALES.items() if name != "stem"}), network=NETWORK)
    assert rules(found) == set()
    assert ("fused", "") in rules(found, "note")


def test_a_name_that_the_model_lacks_is_stale_and_tensorrts_own_is_not() -> None:
    found = linted(**{"old/stem": 0.1, "(Unnamed Layer* 4) [Constant]_output": 0.2})
    assert rules(found) == {("stale", "old/stem")}


def test_the_cache_of_another_model_is_told_once() -> None:
    found = lint_cache(text({f"other/{name}": scale for name, scale in SCALES.items()}), network=NETWORK)
    assert ("other-model", "") in rules(found, "error")
    assert not any(rule == "stale" for rule, _ in rules(found))


@pytest.mark.parametrize(
    ("scale", "rule"),
    [
        (0.0, "zero"),
        (float("nan"), "not-finite"),
        (float("inf"), "not-finite"),
        (-0.05, "negative"),
        (1e-39, "subnormal"),
        (3e38, "huge"),
    ],
)
def test_scales_that_no_engine_can_use_are_errors(scale: float, rule: str) -> None:
    found = linted(logits=scale)
    assert (rule, "logits") in rules(found, "error")


def test_a_range_beyond_fp16_is_a_warning() -> None:
    assert ("huge", "logits") in rules(linted(logits=1000.0), "warning")


@pytest.mark.parametrize("tensor", ["pool", "leftr", "both", "flat"])
def test_two_scales_of_the_same_values_are_a_conflict(tensor: str) -> None:
    found = linted(**{tensor: SCALES[tensor] * 1.01})
    assert any(rule == "conflict" for rule, _ in rules(found, "warning"))


@pytest.mark.parametrize(("factor", "severity"), [(1.9, "warning"), (2.1, "error"), (0.52, "warning"), (0.48, "error")])
def test_a_conflict_that_costs_a_bit_is_an_error(factor: float, severity: str) -> None:
    assert ("conflict", "flat") in rules(linted(flat=SCALES["flat"] * factor), severity)


def test_a_narrower_input_of_a_concat_is_no_fault_on_a_gpu_and_one_on_a_dla() -> None:
    narrow = text({**SCALES, "leftr": 0.5 * SCALES["leftr"]})
    on_gpu = lint_cache(narrow, network=NETWORK)
    assert rules(on_gpu) == set()
    assert ("rescaled", "") in rules(on_gpu, "note")
    on_dla = lint_cache(narrow, network=NETWORK, reader=Reader("8.6.1", dla=True))
    assert rules(on_dla, "error") == {("dla", "both")}
    assert rules(lint_cache(text(SCALES), network=NETWORK, reader=Reader("8.6.1", dla=True))) == set()


def test_a_range_wider_than_an_activation_allows_is_found() -> None:
    found = linted(act=4 * SCALES["act"], pool=4 * SCALES["pool"])
    assert {("too-wide", "act"), ("too-wide", "pool")} <= rules(found)


def test_a_grid_may_end_beyond_what_an_activation_allows_and_a_maximum_may_not() -> None:
    wide = {**SCALES, "act": 1.5 * SCALES["act"], "pool": 1.5 * SCALES["pool"]}
    assert rules(lint_cache(text(wide), network=NETWORK)) == set()
    assert ("grid-end", "") in rules(lint_cache(text(wide), network=NETWORK), "note")
    found = rules(lint_cache(text(wide, "TRT-8601-MinMaxCalibration"), network=NETWORK))
    assert {("too-wide", "act"), ("too-wide", "pool")} <= found


@pytest.mark.parametrize(("bins", "severity", "rule"), [(2048, "note", "ceiling"), (128, "warning", "floor")])
def test_histograms_tell_where_the_entropy_search_ended(bins: int, severity: str, rule: str) -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    seen = TensorRTHistogram.starting(float(np.abs(values).max()), batch=1).added(values)
    found = lint_cache(text({"a": (bins + 0.5) * seen.width / 127}), histograms={"a": seen})
    assert rule in {name for name, _ in rules(found, severity)}
    assert {name for name, _ in rules(found, severity)}.isdisjoint({"ceiling", "floor"} - {rule})


def test_a_range_that_ends_where_tensorrts_grid_does_is_reached_and_one_beyond_is_not() -> None:
    values = np.array([0.0, 1.0], np.float32)
    seen = TensorRTHistogram.starting(0.6, batch=1).added(values)  # doubles: the grid ends at 1.2
    for reach, expected in ((1.2 * 2048.5 / 2048, False), (1.25, True)):
        found = lint_cache(text({"a": reach / 127}), histograms={"a": seen})
        assert (("unreached", "a") in rules(found)) is expected


def test_carriage_returns_and_a_byte_order_mark_are_named() -> None:
    windows = lint_cache(scan_cache(f"{HEADER}\r\na: 3c010204\r\n"))
    assert rules(windows, "warning") == {("line-ends", "")}
    with pytest.raises(InputError, match="byte order mark"):
        scan_cache(f"\ufeff{HEADER}\na: 3c010204\n")
    with pytest.raises(InputError, match="empty"):
        scan_cache("")


def test_a_file_of_bad_lines_is_told_in_a_thousand_and_one_findings() -> None:
    found = lint_cache(scan_cache(f"{HEADER}\n" + "x 1\n" * 5000))
    malformed = [f for f in found.findings if f.rule == "malformed"]
    assert len(malformed) == 1001
    assert "4,000 more" in malformed[-1].message
    with pytest.raises(InputError, match="no network has that many"):
        scan_cache(f"{HEADER}\n" + "\n" * 300_000)


@pytest.mark.parametrize("tensor", ["sum", "sumr", "mean"])
def test_a_range_wider_than_the_operators_inputs_allow_is_found(tensor: str) -> None:
    found = linted(**{tensor: 10 * SCALES[tensor]})
    assert ("too-wide", tensor) in rules(found)


def test_one_scale_at_tensors_of_other_values_is_found() -> None:
    found = linted(**dict.fromkeys(("stem", "mixed", "again", "logits"), 0.0625))
    assert ("shared", "") in rules(found)


def test_one_scale_at_tensors_of_the_same_bound_is_sound() -> None:
    assert ("shared", "") not in rules(linted())


def test_a_tensor_named_twice_and_a_broken_line_are_found() -> None:
    lines = (CacheLine(2, "a", 0.5), CacheLine(3, "a", 0.25))
    found = lint_cache(CacheText(HEADER, lines, ((4, "b 3c010204"),)))
    assert rules(found, "error") == {("twice", "a"), ("malformed", "")}
    assert rules(lint_cache(CacheText(HEADER, ())), "error") == {("empty", "")}


@pytest.mark.parametrize(
    ("header", "reader", "expected"),
    [
        ("TRT-8601-EntropyCalibration2", Reader("8.6.1", "EntropyCalibration2"), None),
        ("TRT-8600-EntropyCalibration2", Reader("8.6.1"), ("note", "version")),
        ("TRT-8601-EntropyCalibration2", Reader("tensorrt@8.6"), None),
        ("TRT-7203-EntropyCalibration2", Reader("7"), None),
        ("TRT-8601-EntropyCalibration2", Reader("10.3.0"), ("error", "version")),
        ("TRT-100300-EntropyCalibration2", Reader("11.0.0"), ("error", "no-reader")),
        ("TRT-8601-MinMaxCalibration", Reader("8.6.1", "EntropyCalibration2"), ("error", "algorithm")),
        ("TRT-8601-MinMaxCalibration", Reader("8.6.1"), ("note", "algorithm")),
        ("TRT-8601-Whatever", Reader(), ("warning", "algorithm")),
    ],
)
def test_the_header_is_held_against_its_reader(header: str, reader: Reader, expected: tuple[str, str] | None) -> None:
    found = {(f.severity, f.rule) for f in lint_cache(text({"a": 0.5}, header), reader=reader).findings}
    assert found == ({expected} if expected else set())


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(UsageError, match="Unknown calibrator «Entropy3»"):
        Reader(calibrator="Entropy3")
    for version in ("newest", "8.banana", "8.", ""):
        with pytest.raises(UsageError, match=r"looks like 8\.6\.1"):
            Reader(version)


def test_counted_values_tell_a_scale_that_is_too_wide_or_clips() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    seen = {"a": Histogram.of(values)}
    amax = float(np.abs(values).max())
    assert rules(lint_cache(text({"a": amax / 127}), histograms=seen)) == set()
    assert rules(lint_cache(text({"a": 4 * amax / 127}), histograms=seen)) == {("unreached", "a")}
    assert rules(lint_cache(text({"a": 0.1 * amax / 127}), histograms=seen)) == {("lossy", "a")}


@given(st.text())
def test_any_text_is_a_finding_or_refused_in_a_sentence(words: str) -> None:
    try:
        scanned = scan_cache(f"{HEADER}\n{words}")
    except InputError:
        return
    assert len(scanned.lines) + len(scanned.broken) <= words.count("\n") + 1
    lint_cache(scanned)


@pytest.mark.parametrize("name", ["fashion_net.entropy2", "fashion_net.minmax"])
def test_tensorrts_own_caches_of_the_shipped_network_are_sound(name: str) -> None:
    network = CacheNetwork.of(load_model(Path(__file__).parents[2] / "calib_data" / "fashion_net.onnx"))
    found = lint_cache(scan_cache((GOLDEN / f"{name}.cache").read_text()), network=network)
    assert rules(found) == set()
    assert found.made_by.algorithm == scan_cache((GOLDEN / f"{name}.cache").read_text()).header.split("-")[2]


@pytest.mark.reference
@pytest.mark.parametrize("name", ["entropy2", "minmax", "legacy", "from_mse", "from_p9999", "from_p99999", "from_pqkl"])
def test_golden_caches_are_sound(reference: Path, name: str) -> None:
    network = CacheNetwork.of(load_model(reference / "models" / "efficientnet_lite0.onnx"))
    written = (reference / "golden" / "trt-8.6" / f"efficientnet_lite0.{name}.cache").read_text()
    assert rules(lint_cache(scan_cache(written), network=network)) == set()
    assert rules(lint_cache(scan_cache(written))) == set()
