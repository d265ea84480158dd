"""What is fuzzed: each public reader of strangers' files, with the modules whose lines its corpus is to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab.audit.audit import Audit
from quantlab.audit.inspector import parse_inspector
from quantlab.comparison.sample_file import read_samples
from quantlab.data import Preprocess, arrays, images
from quantlab.data.decoding import available_formats, decode
from quantlab.data.pictures import picture_of_file
from quantlab.deploy.bundle import read_bundle
from quantlab.graph.lint import lint_qdq
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import place
from quantlab.graph.target import Target as Device
from quantlab.graph.view import Graph
from quantlab.jobs.comparing import read_comparison
from quantlab.jobs.diagnosing import read_diagnosis
from quantlab.jobs.job_file import read_job
from quantlab.jobs.lining_up import read_result
from quantlab.jobs.manifest import listed
from quantlab.jobs.policy_file import read_policy
from quantlab.jobs.preprocessing import preprocess_of, read_preprocess
from quantlab.metrics.label_files import read_labels
from quantlab.report.artefacts import read_artefacts
from quantlab.report.run_folder import read_notes
from quantlab.report.searched import read_search, read_training
from quantlab.storage.calibration_cache import check_cache, read_cache
from quantlab.storage.file_digest import file_digest
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.overrides_yaml import read_overrides
from quantlab.storage.run_history import FILE, history
from quantlab.storage.scale_table_csv import read_scale_table_csv
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.workers.part_form import opened
from tests.fuzz.folders import read_folder

Kind: TypeAlias = Literal["text", "json", "yaml", "onnx", "hdf5", "image", "bytes"]

SPLIT = b"\n%%%%\n"
"""Stands between the files of an input that is two files."""


@dataclass(frozen=True, slots=True)
class Target:
    """A reader of one kind of file.

    Attributes
    ----------
    read
        Writes an input's bytes into a folder and calls the public reader.
    kind
        What the mutations know of the format.
    modules
        The parser, as dotted names.
    """

    name: str
    read: Callable[[bytes, Path], object]
    kind: Kind
    modules: tuple[str, ...]


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return run


def _model(path: Path) -> None:
    beside = path.parent / "weights.bin"
    if not beside.exists():
        beside.write_bytes(bytes(range(256)) * 16)
    device = Device.parse("tensorrt")
    model = load_model(path)
    lint_qdq(model, device)
    place(Graph(normalise(model).model.proto), device)


def _cache(data: bytes, folder: Path) -> None:
    text, _, sidecar = data.partition(SPLIT)
    path, beside = folder / "calibration.cache", folder / "calibration.cache.json"
    path.write_bytes(text)
    beside.unlink(missing_ok=True)
    if sidecar:
        beside.write_bytes(sidecar)
    read_cache(path, ("conv1", "conv2"))
    check_cache(path, "sha256:0")


def _samples(data: bytes, folder: Path) -> None:
    """Read the table of a comparison that names these very bytes: a stranger fits one to the other."""
    comparison, _, table = data.partition(SPLIT)
    (folder / "compare.samples.h5").write_bytes(table)
    digest = file_digest(folder / "compare.samples.h5").encode()
    (folder / "compare.json").write_bytes(comparison.replace(b"DIGEST", digest))
    read_samples(folder / "compare.json")


def _image(path: Path) -> None:
    for preprocess in (Preprocess(resize=8, crop=(8, 8)), Preprocess(resize=(4, 4), color="GRAY", layout="NHWC")):
        decode(path, preprocess, available_formats())


def _picture(data: bytes, folder: Path) -> None:
    path = folder / "picture"
    path.write_bytes(data)
    picture_of_file(path, available_formats())
    _image(path)


def _part(data: bytes, _folder: Path) -> None:
    with opened(data) as (head, told, _file):
        head.merge(head)
        sorted(told)


def _listing(data: bytes, folder: Path) -> None:
    """Read bytes as a list and as a manifest of images."""
    for name in ("list.txt", "list.csv"):
        (folder / name).write_bytes(data)
    for name in ("list.txt", "list.csv"):
        images(folder / name, preprocess=Preprocess(resize=8), skip_bad=True)


def _arrays(path: Path) -> None:
    for batch in arrays(path, batch=4096):
        sum(values.size for values in batch.values())


def _preprocessed(path: Path) -> None:
    preprocess_of(read_preprocess(str(path)))


def _manifest(path: Path) -> None:
    read_artefacts(path.parent)
    listed(path.parent)


def _job(data: bytes, folder: Path) -> None:
    job, _, rest = data.partition(SPLIT)
    preprocess, _, changes = rest.partition(SPLIT)
    (folder / "job.yaml").write_bytes(job)
    (folder / "preprocess.yaml").write_bytes(preprocess)
    given = changes.decode("utf-8", "replace").splitlines()
    found = read_job(folder / "job.yaml", given, {"QUANTLAB_JOB_DATA__CALIBRATION__BATCH": "8"} if given else None)
    found.name, found.exposed, found.sources  # noqa: B018 - computed when they are asked for


def _policy(data: bytes, folder: Path) -> None:
    policy, _, slices = data.partition(SPLIT)
    (folder / "policy.yaml").write_bytes(policy)
    (folder / "slices.csv").write_bytes(slices)
    read_policy(folder / "policy.yaml")


def _search(path: Path) -> None:
    score = read_search(path).score
    score.worst_db, score.interval  # noqa: B018 - computed when they are asked for


def _inspector(data: bytes, _folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    for layer in parse_inspector(text).layers:
        layer.precision, layer.output_precision  # noqa: B018 - computed when they are asked for
    parse_inspector(text, profile=1)


def _audit(data: bytes, _folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    Audit.from_json(text)


def _labels(suffix: str) -> Callable[[Path], object]:
    return lambda path: read_labels(path.rename(path.with_suffix(suffix)))


_STORAGE = "quantlab.storage"
_HDF5 = (f"{_STORAGE}.hdf5_columns",)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "onnx",
            _file("model.onnx", _model),
            "onnx",
            tuple(
                f"quantlab.graph.{name}" for name in ("model", "external_data", "stored_tensors", "wire", "digest")
            ),
        ),
        Target(
            "cache",
            _cache,
            "text",
            ("quantlab.calibration.trt_cache", f"{_STORAGE}.calibration_cache", f"{_STORAGE}.cache_sidecar"),
        ),
        Target(
            "scale_table",
            _file("scales.json", read_scale_table),
            "json",
            (
                f"{_STORAGE}.scale_table_json", f"{_STORAGE}.json_documents", f"{_STORAGE}.float_text",
                "quantlab.calibration.provenance",
            ),
        ),
        Target("scale_csv", _file("scales.csv", read_scale_table_csv), "text",
               (f"{_STORAGE}.scale_table_csv", f"{_STORAGE}.shape_text")),
        Target("comparison", _file("compare.json", read_comparison), "json", (f"{_STORAGE}.dataclass_json",)),
        Target("diagnosis", _file("diagnosis.json", read_diagnosis), "json", ()),
        Target("lineup", _file("lineup.json", read_result), "json", ()),
        Target("search", _file("tune.json", _search), "json", ("quantlab.report.searched",)),
        Target("training", _file("report.json", read_training), "json", ("quantlab.report.searched",)),
        Target("manifest", _file("manifest.json", _manifest), "json", ("quantlab.report.artefacts",)),
        Target("notes", _file("run.json", lambda path: read_notes(path.parent)), "json", ()),
        Target("inspector", _inspector, "json", ("quantlab.audit.inspector",)),
        Target("audit", _audit, "json", ()),
        Target("histograms", _file("histograms.h5", read_histograms), "hdf5",
               (f"{_STORAGE}.histograms_h5", *_HDF5)),
        Target("samples", _samples, "hdf5",
               (f"{_STORAGE}.sample_columns", "quantlab.comparison.sample_file", *_HDF5)),
        Target("history", _file(FILE, lambda path: history(path.parent)), "bytes", (f"{_STORAGE}.run_history",)),
        Target("arrays_h5", _file("data.h5", _arrays), "hdf5", ("quantlab.data.array_files", "quantlab.data.hdf5_links", "quantlab.hdf5_heaps")),
        Target("arrays_npz", _file("data.npz", _arrays), "bytes", ("quantlab.data.array_files",)),
        Target("arrays_npy", _file("data.npy", _arrays), "bytes", ("quantlab.data.array_files",)),
        Target("images", _picture, "image",
               ("quantlab.data.decoding", "quantlab.data.pixels", "quantlab.data.pictures")),
        Target("listing", _listing, "text", ("quantlab.data.listing",)),
        Target("job", _job, "yaml",
               ("quantlab.jobs.job", "quantlab.jobs.job_file", "quantlab.jobs.job_paths", "quantlab.jobs.job_fields", f"{_STORAGE}.yaml_text")),
        Target("policy", _policy, "yaml", ("quantlab.jobs.policy_file", "quantlab.jobs.slices_csv")),
        Target("overrides", _file("overrides.yaml", read_overrides), "yaml", (f"{_STORAGE}.overrides_yaml",)),
        Target("preprocess", _file("preprocess.yaml", _preprocessed), "yaml",
               ("quantlab.jobs.preprocessing", "quantlab.data.preprocess")),
        Target("labels_csv", _file("labels", _labels(".csv")), "text", ("quantlab.metrics.label_files",)),
        Target("part", _part, "hdf5", ("quantlab.workers.part_form", *_HDF5)),
        Target("bundle", _file("bundle.json", lambda path: read_bundle(path.parent)), "json", ("quantlab.deploy.bundle",)),
        Target("folders", read_folder, "json", (f"{_STORAGE}.files", f"{_STORAGE}.text")),
        Target("labels_coco", _file("labels", _labels(".json")), "json", ("quantlab.metrics.detection.coco_labels",)),
    )
}  # fmt: skip
