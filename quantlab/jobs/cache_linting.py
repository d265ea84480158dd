"""Reading what the cache linter and the difference of caches work on."""

from collections.abc import Iterator
from pathlib import Path

from quantlab.caches.difference import CacheDifference, Tolerance, against, difference
from quantlab.caches.lint import LintedCache, lint_cache
from quantlab.caches.lint_lines import Reader, about
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import scan_cache
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.finding import Finding
from quantlab.graph.model import Model, load_model
from quantlab.jobs.quantizing import read_scales
from quantlab.storage.calibration_cache import check_sidecar
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
    loaded = None if model is None else load_model(model)
    return lint_cache(
        scanned,
        reader=reader,
        network=None if loaded is None else CacheNetwork.of(loaded),
        histograms=None if histograms is None else read_histograms(histograms),
        missing="note" if allow_missing else "error",
        beside=_sidecar(cache, loaded),
    )


def _sidecar(cache: Path, model: Model | None) -> Iterator[Finding]:
    """Check what stands beside the cache: whether it is as it was written, and for which model."""
    try:
        provenance = check_sidecar(cache)
    except StaleError as error:
        yield about("error", "edited", "", str(error), "Other commands refuse it.")
    except InputError as error:
        yield about("warning", "sidecar", "", str(error), "Move that file: other commands take it for the sidecar.")
    else:
        if provenance is not None and model is not None and provenance.model != model.digest:
            message = f"It was made for «{provenance.model_name}», and «{model.name}» is another model."
            yield about(
                "error", "other-model", "", message, "After a re-export, `quantlab cache rename` takes it along."
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
        For histograms first or given twice, or a loss without any.
    """
    if first.suffix.lower() in HISTOGRAMS and second.suffix.lower() in HISTOGRAMS:
        raise UsageError(
            f"'{first}' and '{second}' are both histograms, and scales are compared: calibrate one of them."
        )
    if first.suffix.lower() in HISTOGRAMS:
        raise UsageError("Give the cache first, then the histograms: quantlab cache diff CACHE HISTOGRAMS.h5.")
    if tolerance.lost_db is not None and histograms is None and second.suffix.lower() not in HISTOGRAMS:
        raise UsageError("--loss is told from counted values: give --histograms HISTOGRAMS.h5.")
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
