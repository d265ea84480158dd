"""Reading what the cache linter and the difference of caches work on."""

from pathlib import Path

from quantlab.caches.difference import CacheDifference, Tolerance, against, difference
from quantlab.caches.lint import LintedCache, lint_cache
from quantlab.caches.lint_lines import Reader
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import scan_cache
from quantlab.errors import UsageError
from quantlab.graph.model import load_model
from quantlab.jobs.quantizing import read_scales
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.text import located, read_text

HISTOGRAMS = (".h5", ".hdf5")


def lint_file(
    cache: Path,
    *,
    reader: Reader | None = None,
    model: Path | None = None,
    histograms: Path | None = None,
    allow_missing: bool = False,
) -> LintedCache:
    """Check a cache file, whatever is wrong in it, against what is given.

    Raises
    ------
    InputError
        For a file that is no cache at all, and for a model or histograms that cannot be read.
    """
    text = read_text(cache, "a calibration cache")
    with located(f"'{cache}'"):
        scanned = scan_cache(text)
    network = None if model is None else CacheNetwork.of(load_model(model))
    seen = None if histograms is None else read_histograms(histograms)
    return lint_cache(
        scanned, reader=reader, network=network, histograms=seen, missing="note" if allow_missing else "error"
    )


def difference_of_files(
    first: Path, second: Path, *, tolerance: Tolerance, histograms: Path | None = None
) -> tuple[CacheDifference, tuple[ScaleTable, ...]]:
    """Compare two caches or tables, on counted values too where there are histograms; or one against a histogram store.

    Raises
    ------
    InputError
        For files that cannot be read.
    UsageError
        For histograms first, or given twice.
    """
    if first.suffix.lower() in HISTOGRAMS:
        raise UsageError("Give the cache first, then the histograms: quantlab cache diff CACHE HISTOGRAMS.h5.")
    one = read_scales(first)
    if second.suffix.lower() not in HISTOGRAMS:
        two = read_scales(second)
        seen = None if histograms is None else read_histograms(histograms)
        return difference(one, two, tolerance=tolerance, histograms=seen), (one, two)
    if histograms is not None:
        raise UsageError("With histograms in the place of the second cache, --histograms has nothing to add.")
    counted: HistogramSet = read_histograms(second)
    default = tolerance if tolerance.lost_db is not None else Tolerance(tolerance.relative, 1.0)
    return against(one, counted, tolerance=default), (one,)
