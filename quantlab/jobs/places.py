"""Where a job puts its artefacts, within the run folder."""

from pathlib import Path

from quantlab.comparison.sample_file import samples_path
from quantlab.jobs.job import Job, slug
from quantlab.jobs.manifest import listed
from quantlab.report.run_folder import NOTES
from quantlab.storage.cache_sidecar import sidecar_path

HISTOGRAMS = "histograms.h5"
TENSORRT_HISTOGRAMS = "histograms-tensorrt.h5"
SCALES = "scales.json"
MODEL = "model.int8.onnx"
CACHE = "calibration.cache"
CACHE_SIDECAR = sidecar_path(CACHE).name
COMPARISON = "compare.json"
SAMPLES = samples_path(Path(COMPARISON)).name
ORT_CALIBRATED = "ort/scales.json"
ORT_SCALES = "scales.ort.json"
ORT_MODEL = "model.ort.onnx"
ORT_COMPARISON = "compare-ort.json"
ORT_SAMPLES = samples_path(Path(ORT_COMPARISON)).name
REPORT = "report.html"
_FIXED = (
    HISTOGRAMS,
    TENSORRT_HISTOGRAMS,
    SCALES,
    MODEL,
    CACHE,
    CACHE_SIDECAR,
    COMPARISON,
    SAMPLES,
    ORT_CALIBRATED,
    ORT_SCALES,
    ORT_MODEL,
    ORT_COMPARISON,
    ORT_SAMPLES,
    NOTES,
    REPORT,
)


def scales_of(method: str) -> str:
    """Return the place of a method's scales."""
    return f"scales/{slug(method)}.json"


def tuning_of(method: str) -> str:
    """Return the place of a method's comparison on the tuning set."""
    return f"tuning/{slug(method)}.json"


def expected(job: Job) -> frozenset[str]:
    """Return the places of all that a job makes."""
    scored = "evaluation" in job.sources
    wanted = {
        TENSORRT_HISTOGRAMS: job.tensorrt_grid is not None,
        CACHE: job.cache is not None,
        CACHE_SIDECAR: job.cache is not None,
        COMPARISON: scored,
        SAMPLES: scored,
        ORT_CALIBRATED: job.ort,
        ORT_SCALES: job.ort,
        ORT_MODEL: job.ort,
        ORT_COMPARISON: job.ort and scored,
        ORT_SAMPLES: job.ort and scored,
    }
    fixed = {place for place in _FIXED if wanted.get(place, True)}
    methods = {scales_of(method) for method in job.methods}
    tuned = {tuning_of(method) for method in job.methods} if "tuning" in job.sources else set()
    return frozenset(fixed | methods | tuned)


def leftovers(job: Job) -> tuple[str, ...]:
    """Return what another job left in this one's places; the report would take it for this one's.

    Raises
    ------
    InputError
        When the folder's manifest is damaged, or of another program.
    """
    own = expected(job)
    places = (p for p in listed(job.output) if p in _FIXED or Path(p).parent.as_posix() in ("scales", "tuning"))
    return tuple(place for place in places if place not in own and (job.output / place).exists())
