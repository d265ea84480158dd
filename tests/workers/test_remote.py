"""Data in a store are the samples of the same files on disk: same names, same hashes, same histograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import quantlab as ql
from quantlab.data import Dataset, Preprocess, arrays, images
from quantlab.engines import ort
from quantlab.errors import InputError, MachineError, UsageError
from quantlab.jobs.collecting import Collecting, collect_histograms
from quantlab.jobs.data_source import DataSource
from quantlab.storage.files import save
from quantlab.workers.declared import Workers, processes
from quantlab.workers.remote import remote_data
from quantlab.workers.spread import Spread
from quantlab.workers.store import is_remote
from tests.graph.nets import residual_net

fsspec: Any = pytest.importorskip("fsspec", reason="needs fsspec: pip install 'quantlab[ray]'")
PIXELS = Preprocess(layout="NCHW", color="RGB", scale=1 / 255)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images in two classes, and a hidden one."""
    random = np.random.default_rng(0)
    for number in range(20):
        place = tmp_path / "calib" / str(number % 2) / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(place)
    (tmp_path / "calib" / ".hidden").mkdir()
    (tmp_path / "calib" / ".hidden" / "a.png").write_bytes(b"")
    return tmp_path / "calib"


def test_remote_images_are_those_of_the_folder(folder: Path) -> None:
    near = images(folder, preprocess=PIXELS, batch=4)
    far = remote_data(folder.as_uri(), preprocess=PIXELS, batch=4)
    assert far.identity == near.identity
    assert far.sample_hashes == near.sample_hashes
    for one, two in zip(near, far, strict=True):
        assert one.names == two.names
        assert one.hashes == two.hashes
        assert np.array_equal(one.labels, two.labels)  # type: ignore[arg-type]
        assert np.array_equal(one[""], two[""])


def test_labels_come_from_names_too(folder: Path) -> None:
    far = remote_data(folder.as_uri(), preprocess=PIXELS, batch=32, label_pattern=r"(\d\d)$")
    assert [int(label) for batch in far for label in batch.labels] == [*range(0, 20, 2), *range(1, 20, 2)]  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_remote_arrays_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    rows = np.random.default_rng(0).standard_normal((20, 3, 16, 16)).astype(np.float32)
    path = tmp_path / f"rows.{suffix}"
    np.save(path, rows) if suffix == "npy" else np.savez(path, x=rows)
    near, far = arrays(path, batch=4), remote_data(path.as_uri(), preprocess=None, batch=4)
    assert len(far) == 20
    assert far.identity == near.identity
    with ort(residual_net(), expose="all", threads=1) as engine:
        assert ql.collect(engine, far, on=Spread(shard=8)).provenance == ql.collect(engine, near).provenance


@pytest.mark.slow
def test_workers_fetch_what_they_count(folder: Path) -> None:
    near = images(folder, preprocess=PIXELS, batch=4)
    far = remote_data(folder.as_uri(), preprocess=PIXELS, batch=4)
    with ort(residual_net(), expose="all", threads=1) as engine:
        one = ql.collect(engine, near)
        many = ql.collect(engine, far, on=processes(2))
    assert dict(one) == dict(many)
    assert one.provenance == many.provenance


def test_a_job_reads_from_a_store(folder: Path, tmp_path: Path) -> None:
    from quantlab.graph.model import load_model

    save(load_model(residual_net()), tmp_path / "net.onnx")
    made = [
        collect_histograms(
            Collecting(tmp_path / "net.onnx", DataSource(place, PIXELS), tmp_path / name, workers=Workers(shard=8))
        )
        for name, place in (("near.h5", str(folder)), ("far.h5", folder.as_uri()))
    ]
    assert [one.fresh for one in made] == [True, True]
    assert (tmp_path / "near.h5").read_bytes() == (tmp_path / "far.h5").read_bytes()
    assert not (tmp_path / "far.h5.parts").exists()


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    nothing = (tmp_path / "nothing").as_uri()
    with pytest.raises(InputError, match="no image below"):
        remote_data(nothing, preprocess=PIXELS, batch=4)
    with pytest.raises(InputError, match="cannot be fetched"):
        len(remote_data(f"{nothing}/rows.npy", preprocess=None, batch=4))
    with pytest.raises(InputError, match="no address that fsspec knows"):
        remote_data("nowhere://bucket/", preprocess=PIXELS, batch=4)
    with pytest.raises(UsageError, match="declare the preprocessing"):
        remote_data(nothing, preprocess=None, batch=4)
    with pytest.raises(UsageError, match="for images"):
        remote_data(f"{nothing}/rows.npy", preprocess=None, batch=4, skip_bad=True)
    with pytest.raises(MachineError, match=r"quantlab\[ray\]"):
        remote_data("s3://bucket/calib/", preprocess=PIXELS, batch=4)


class NoAnswerError(Exception):
    """An error as botocore's are: of no class that Python knows."""


class Unreachable(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store that lists its images, and does not answer any more when they are asked for."""

    protocol = "unreachable"
    cachable = False

    def find(self, path: str, *_: Any, **__: Any) -> list[str]:
        if "never" in path:
            raise NoAnswerError("Could not connect to the endpoint.")
        return [f"{path.rstrip('/')}/a.png"]

    def get_file(self, *_: Any, **__: Any) -> None:
        raise NoAnswerError("Could not connect to the endpoint.")


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_store_that_does_not_answer_is_a_sentence_and_leaves_no_sample_out(skip_bad: bool) -> None:
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    with pytest.raises(MachineError, match=r"cannot be listed: Could not connect to the endpoint\. Check the address"):
        remote_data("unreachable://never/calib", preprocess=PIXELS, batch=4)
    far = remote_data("unreachable://calib", preprocess=PIXELS, batch=4, skip_bad=skip_bad)
    with pytest.raises(MachineError, match=r"a\.png' cannot be fetched.*credentials"):
        far.sample_hashes  # noqa: B018 - it is read for this


@pytest.mark.parametrize("kind", ["images", "rows.npy"])
def test_a_store_in_memory_gives_the_bytes_of_the_disk(folder: Path, tmp_path: Path, kind: str) -> None:
    store = fsspec.filesystem("memory")
    if kind == "images":
        store.put(str(folder), "/bucket/calib", recursive=True)
        near: Dataset = images(folder, preprocess=PIXELS, batch=4)
        far = "memory://bucket/calib"
    else:
        np.save(tmp_path / kind, np.random.default_rng(0).standard_normal((20, 3, 16, 16)).astype(np.float32))
        store.put(str(tmp_path / kind), f"/bucket/{kind}")
        near, far = arrays(tmp_path / kind, batch=4), f"memory://bucket/{kind}"
    preprocess = PIXELS if kind == "images" else None
    with ort(residual_net(), expose="all", threads=1) as engine:
        one = ql.collect(engine, near)
        many = ql.collect(engine, remote_data(far, preprocess=preprocess, batch=4), on=Spread(shard=8))
    assert dict(one) == dict(many)
    assert one.provenance == many.provenance


def test_a_file_of_a_store_that_is_gone_is_named_or_left_out(folder: Path) -> None:
    far = remote_data(folder.as_uri(), preprocess=PIXELS, batch=4)
    lenient = remote_data(folder.as_uri(), preprocess=PIXELS, batch=4, skip_bad=True)
    (folder / "0" / "04.png").unlink()
    with pytest.raises(InputError, match=r"04\.png' cannot be fetched"):
        list(far)
    assert sum(batch.samples for batch in lenient) == 19
    assert lenient.skipped == ("0/04.png",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("place", "is_one"), [("s3://a/b", True), ("a/b", False), ("C:\\a", False), ("loader.py:f", False)]
)
def test_addresses_are_told_from_paths(place: str, is_one: bool) -> None:
    assert is_remote(place) is is_one
