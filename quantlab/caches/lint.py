"""The linter of calibration caches: what TensorRT would refuse, ignore or run with the wrong range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from quantlab.caches.fingerprint import MAXIMUM, Fingerprint, fingerprint
from quantlab.caches.harm import AnyHistogram
from quantlab.caches.lint_ceilings import check_ceilings
from quantlab.caches.lint_histograms import check_histograms
from quantlab.caches.lint_lines import Reader, about, check_header, check_lines
from quantlab.caches.lint_network import check_names, check_shared
from quantlab.caches.lint_scales import check_scales
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE
from quantlab.calibration.trt_cache import CacheText, CalibrationCache
from quantlab.graph.finding import Finding, Severity

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
_MOST = 1000  # findings of one rule: a file of a million bad lines is one fault


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
    beside: Iterable[Finding] = (),
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
    beside
        What was found beside the text, as in its sidecar.
    """
    keys = {line.tensor: line.scale for line in text.lines}
    cache = CalibrationCache(text.header, keys)
    usable = {name: scale for name, scale in keys.items() if SMALLEST_SCALE <= scale <= LARGEST_SCALE}
    reader, histograms = reader or Reader(), histograms or {}
    made_by = fingerprint(CalibrationCache(text.header, usable), network, histograms)
    checks = [check_header(cache, reader), check_lines(text)]
    scales = usable
    if network is not None:
        scales = network.scales(usable)
        maxima = cache.algorithm == MAXIMUM
        checks += [
            check_names(keys, network, missing=missing),
            check_scales(scales, network, dla=reader.dla, exact=maxima),
        ]
    checks.append(check_shared(scales, network))
    checks.append(check_ceilings(scales, network, histograms, by_entropy="ntropy" in (made_by.algorithm or "")))
    checks.append(check_histograms(usable, histograms, unread=() if network is None else network.inner))
    checks.append(_maker(cache.algorithm, made_by))
    findings = sorted(_few(chain(beside, *checks)), key=lambda f: _ORDER.index(f.severity))
    return LintedCache(tuple(findings), made_by, len(keys))


def _maker(algorithm: str, made_by: Fingerprint) -> Iterator[Finding]:
    if made_by.algorithm is not None and made_by.certainty != "unknown" and made_by.algorithm != algorithm:
        message = f"The header says {algorithm}, but the scales look made by {made_by.algorithm}. {made_by.evidence}"
        yield about("note", "made-by", "", message, "The header only has to suit the reader.")


def _few(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the first of each rule, and how many more there are."""
    seen: Counter[tuple[str, Severity]] = Counter()
    last: dict[tuple[str, Severity], Finding] = {}
    for found in findings:
        kind = found.rule, found.severity
        seen[kind] += 1
        last[kind] = found
        if seen[kind] <= _MOST:
            yield found
    for kind, count in seen.items():
        if count > _MOST:
            yield replace(last[kind], tensor="", message=f"{count - _MOST:,} more of this kind are not listed.")
