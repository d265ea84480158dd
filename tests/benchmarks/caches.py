"""TensorRT 8.6's own calibration caches through the cache tools; writes reports/figures/caches.json.

For each golden cache: what the linter says, which algorithm it guesses, how many scales are the same bits after the way to
Q/DQ and back, whether both roads compute the same, and how many planted faults of each kind are found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from quantlab.builder import QuantizeOptions, quantize
from quantlab.caches.coverage import coverage
from quantlab.caches.difference import Tolerance, difference
from quantlab.caches.equality import cost, equality
from quantlab.caches.filling import restored
from quantlab.caches.identity import scale_identity
from quantlab.caches.lint import lint_cache
from quantlab.caches.network import CacheNetwork
from quantlab.caches.plain import plain_of
from quantlab.caches.rename import rename
from quantlab.calibration.trt_cache import (
    CacheLine,
    CacheText,
    CalibrationCache,
    cache_of,
    parse_cache,
    render_cache,
    scan_cache,
    table_of,
)
from quantlab.graph.model import Model, load_model
from quantlab.graph.target import Target
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration
from tests.caches.exports import exported_again
from tests.calibration.methods.test_tensorrt import histograms

MADE_BY = {
    "entropy2": "EntropyCalibration2",
    "minmax": "MinMaxCalibration",
    "legacy": "LegacyCalibration",
    "from_mse": "no calibrator of TensorRT",
    "from_p9999": "no calibrator of TensorRT",
    "from_p99999": "no calibrator of TensorRT",
    "from_pqkl": "no calibrator of TensorRT",
}
SAMPLES = 16
TARGET = "tensorrt@11.0"


def main() -> None:
    root = reference()
    model = load_model(root / "models" / "efficientnet_lite0.onnx")
    network = CacheNetwork.of(model)
    counted = histograms()
    batches = _batches(root)
    figures: dict[str, tuple[Any, str]] = {}
    for name, algorithm in MADE_BY.items():
        text = (root / "golden" / "trt-8.6" / f"efficientnet_lite0.{name}.cache").read_text()
        found = {
            **_linted(text, algorithm, network, counted),
            **_there_and_back(text, model, batches),
            **_planted(text, network, counted),
        }
        figures |= {f"{name}: {what}": figure for what, figure in found.items()}
    figures |= _renamed(root, model) | _compared(root, counted)
    write_figures("caches", "python -m tests.benchmarks.caches", figures)


def _batches(root: Path) -> list[dict[str, Any]]:
    first = next(iter(calibration(root))).bind(["input"])
    return [{name: values[:SAMPLES] for name, values in first.items()}]


def _linted(
    text: str, algorithm: str, network: CacheNetwork, counted: Mapping[str, TensorRTHistogram]
) -> dict[str, tuple[Any, str]]:
    plain = lint_cache(scan_cache(text), network=network)
    informed = lint_cache(scan_cache(text), network=network, histograms=counted)
    return {
        "tensors": (plain.tensors, ""),
        "findings with the model": (_counts(plain.counts), "errors, warnings, notes"),
        "findings with model and histograms": (_counts(informed.counts), "errors, warnings, notes"),
        "made by": (algorithm, ""),
        "guessed with the model": (plain.made_by.algorithm or "unknown", plain.made_by.certainty),
        "guessed with histograms": (informed.made_by.algorithm or "unknown", informed.made_by.certainty),
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(str(count) for count in counts.values())


def _there_and_back(text: str, model: Model, batches: list[dict[str, Any]]) -> dict[str, tuple[Any, str]]:
    cache = parse_cache(text)
    options = QuantizeOptions(target=TARGET, head="int8")
    quantized = quantize(model, table_of(cache), options=options).model
    kept = scale_identity(cache.scales, quantized)
    parts = plain_of(quantized, original=model)
    back = restored(parts.table, quantized)
    own = {row.tensor: row.scale[0] for row in parts.table.rows}
    held = [tensor for tensor in parts.exact if tensor in cache.scales]  # Legacy has no key for what Pad writes
    bits = sum(own[tensor] == cache.scales[tensor] for tensor in held)
    again = quantize(parts.model, parts.table, options=options).model
    roads, lost = equality(quantized, again, batches), cost(model, quantized, batches)
    covered = coverage(model, tuple(cache.scales), target=Target.parse(TARGET)).counts
    return {
        "scales in the Q/DQ model that are the cache's bits": (
            f"{len(kept.same)} of {len(kept.same) + len(kept.other)}",
            "",
        ),
        "scales back from Q/DQ that are the cache's bits": (f"{bits} of {len(held)}", ""),
        "cache back from the Q/DQ model": (
            "the same bytes" if back and render_cache(cache_of(back)) == text else "other",
            "",
        ),
        "operators INT8: implicit at most, explicit with float head": (
            f"{covered['implicit']}, {covered['explicit']}",
            f"of {covered['operators']}",
        ),
        "Q/DQ road against plain model + cache, same bits": (
            roads.same_bits,
            f"of the logits of {roads.samples} images, simulated",
        ),
        "float against Q/DQ, logit SQNR": (round(lost.sqnr_db, 2), f"dB, {lost.samples} images, simulated"),
    }


def _planted(text: str, network: CacheNetwork, counted: Mapping[str, TensorRTHistogram]) -> dict[str, tuple[Any, str]]:
    whole = scan_cache(text)
    lines = [line for line in whole.lines if line.tensor in set(network.tensors.tensors)]
    needed = [line for line in lines if line.tensor in network.needed]
    passing = {output for _, _, output in network.passes()}
    seen = [line for line in lines if line.tensor in counted]
    read = [line for line in seen if line.tensor not in network.inner]
    hidden = [line for line in seen if line.tensor in network.inner]
    clean = _places(whole, network)

    def found(
        victims: list[CacheLine], fault: Callable[[CacheLine], CacheLine | None], *, informed: bool = False
    ) -> tuple[str, str]:
        hits = 0
        for line in victims:
            changed = tuple(new for old in whole.lines if (new := fault(old) if old is line else old) is not None)
            known = {line.tensor: counted[line.tensor]} if informed else None
            hits += bool(_places(CacheText(whole.header, changed), network, known) - clean)
        return f"{hits} of {len(victims)}", "new errors or warnings"

    return {
        "planted, scale × 4, found with the model": found(lines, lambda line: _scaled(line, 4)),
        "planted, scale × 4 at a kernel's border, found with the model": found(needed, lambda line: _scaled(line, 4)),
        "planted, scale × 4 where something reads it, found with histograms": found(
            read, lambda line: _scaled(line, 4), informed=True
        ),
        "planted, scale × 4 inside kernels (nobody reads it), found with histograms": found(
            hidden, lambda line: _scaled(line, 4), informed=True
        ),
        "planted, missing name, found": found(
            [li for li in needed if network.root(li.tensor) == li.tensor], lambda _: None
        ),
        "planted, misspelt name, found": found(
            lines, lambda line: CacheLine(line.number, f"{line.tensor}_x", line.scale)
        ),
        "planted, conflict of 1 % at Pad and Reshape, found": found(
            [line for line in lines if line.tensor in passing], lambda line: _scaled(line, 1.01)
        ),
        "planted, scale of 0, found": found(lines, lambda line: _scaled(line, 0)),
        "planted, NaN, found": found(lines, lambda line: _scaled(line, float("nan"))),
    }


def _scaled(line: CacheLine, factor: float) -> CacheLine:
    return CacheLine(line.number, line.tensor, float(np.float32(line.scale * factor)))


def _places(
    text: CacheText, network: CacheNetwork, counted: Mapping[str, TensorRTHistogram] | None = None
) -> set[tuple[str, str]]:
    """Return rule and tensor of every error and warning."""
    linted = lint_cache(text, network=network, histograms=counted)
    return {(f.rule, f.tensor) for f in linted.findings if f.severity != "note"}


def _renamed(root: Path, model: Model) -> dict[str, tuple[Any, str]]:
    text = (root / "golden" / "trt-8.6" / "efficientnet_lite0.entropy2.cache").read_text()
    cache = parse_cache(text)
    found: dict[str, tuple[Any, str]] = {}
    for title, trained in (("other names and order", False), ("other names, order and weights", True)):
        proto, names = exported_again(model.proto, random.Random(0), weights=trained)
        renamed = rename(cache, model, load_model(onnx.ModelProto.FromString(proto.SerializeToString())))
        right = sum(names.get(row.old, row.old) == row.new for row in renamed.rows)
        found[f"rename, {title}: right"] = f"{right} of {len(renamed.rows)}", f"{len(renamed.ambiguous)} ambiguous"
        found[f"rename, {title}: linted"] = _counts(renamed.linted.counts), "errors, warnings, notes"
    return found


def _compared(root: Path, counted: Mapping[str, TensorRTHistogram]) -> dict[str, tuple[Any, str]]:
    folder = root / "golden" / "trt-8.6"
    one, two = (table_of(_read(folder / f"efficientnet_lite0.{name}.cache")) for name in ("minmax", "entropy2"))
    result = difference(one, two, tolerance=Tolerance(lost_db=1.0), histograms=counted)
    worst = next(change for change in result.changes if change.lost_db is not None)
    return {
        "diff minmax → entropy2: tensors that lose more than 1 dB": (len(result.changes), f"of {result.common}"),
        "diff minmax → entropy2: worst tensor": (worst.tensor, ""),
        "diff minmax → entropy2: it loses": (round(worst.lost_db or 0.0, 2), "dB"),
        "diff minmax → entropy2: it clips": (round(100 * (worst.more_clipped or 0.0), 3), "% more of its values"),
    }


def _read(path: Path) -> CalibrationCache:
    return parse_cache(path.read_text())


if __name__ == "__main__":
    main()
