"""The linter of calibration caches: what TensorRT would refuse, ignore or run with the wrong range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.caches.fingerprint import Fingerprint, fingerprint
from quantlab.caches.harm import AnyHistogram
from quantlab.caches.lint_histograms import check_histograms
from quantlab.caches.lint_lines import Reader, about, check_header, check_lines
from quantlab.caches.lint_network import check_ceilings, check_names, check_scales, check_shared
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE
from quantlab.calibration.trt_cache import CacheText, CalibrationCache
from quantlab.graph.finding import Finding, Severity

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class LintedCache:
    """What the linter found, errors first, and the algorithm that probably made the cache."""

    findings: tuple[Finding, ...]
    made_by: Fingerprint
    tensors: int

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity."""
        return {severity: sum(f.severity == severity for f in self.findings) for severity in _ORDER}

    def fails(self, *, strict: bool) -> bool:
        """Tell whether a check in CI fails: on errors, and with `strict` on warnings too."""
        return self.counts["error"] > 0 or (strict and self.counts["warning"] > 0)


def lint_cache(
    text: CacheText,
    *,
    reader: Reader | None = None,
    network: CacheNetwork | None = None,
    histograms: Mapping[str, AnyHistogram] | None = None,
    missing: Severity = "error",
) -> LintedCache:
    """Check a cache as far as what is given allows.

    Parameters
    ----------
    text
        The cache as it stands.
    reader
        TensorRT's version and the calibrator that are to read it.
    network
        The float model that it is for.
    histograms
        Counts of its tensors, by name.
    missing
        How grave it is that an INT8 kernel lacks a scale.
    """
    keys = {line.tensor: line.scale for line in text.lines}
    cache = CalibrationCache(text.header, keys)
    usable = {name: scale for name, scale in keys.items() if SMALLEST_SCALE <= scale <= LARGEST_SCALE}
    findings = [*check_header(cache, reader or Reader()), *check_lines(text)]
    if network is not None:
        scales = network.scales(usable)
        findings += [
            *check_names(keys, network, missing=missing),
            *check_scales(scales, network),
            *check_ceilings(scales, network),
        ]
        findings += check_shared(scales, network)
    else:
        findings += check_shared(usable, None)
    if histograms:
        findings += check_histograms(usable, histograms, unread=() if network is None else network.inner)
    made_by = fingerprint(CalibrationCache(text.header, usable), network, histograms)
    if made_by.algorithm is not None and made_by.certainty != "unknown" and made_by.algorithm != cache.algorithm:
        message = (
            f"The header says {cache.algorithm}, but the scales look made by {made_by.algorithm}. {made_by.evidence}"
        )
        findings.append(about("note", "made-by", "", message, "The header only has to suit the reader."))
    return LintedCache(tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity))), made_by, len(keys))
