"""Collecting in parts gives the bits of one pass: in this process, in several, resumed, and whatever the data are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import quantlab as ql
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.data import Preprocess, arrays, images, random_data
from quantlab.data.batch import Divisible
from quantlab.engines import ort
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.numerics.tensorrt_histogram import TensorRTGrid
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.workers.declared import Workers, processes, ray
from quantlab.workers.pool import Facts
from quantlab.workers.shelf import Shelf
from quantlab.workers.spread import Spread
from tests.graph.nets import net, residual_net

TWICE = net("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
PIXELS = Preprocess(resize=None, layout="NCHW", color="RGB", scale=1 / 255)


def engine(model: onnx.ModelProto | None = None, threads: int = 1) -> OrtEngine:
    return ort(residual_net() if model is None else model, expose="all", threads=threads)


def written(path: Path, count: int = 150, *, dtype: Any = np.float32) -> Path:
    """Write an array file of the residual network's inputs; the last two rows are equal."""
    random = np.random.default_rng(3)
    rows = (random.standard_normal((count, 3, 16, 16)) * 3).astype(dtype)
    rows[-1] = rows[-2]
    if path.suffix == ".npy":
        np.save(path, rows)
    else:
        np.savez(path, x=rows)
    return path


def stored(found: HistogramSet, folder: Path, name: str) -> bytes:
    write_histograms(folder / name, found)
    return (folder / name).read_bytes()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shard", [4, 20, 64])
def test_parts_counted_here_are_the_bytes_of_one_pass(tmp_path: Path, suffix: str, shard: int) -> None:
    data = arrays(written(tmp_path / f"calibration{suffix}", 75), batch=7)
    with engine() as open_engine:
        one = ql.collect(open_engine, data)
        many = ql.collect(open_engine, data, on=Spread(shard=shard))
    assert stored(one, tmp_path, "one.h5") == stored(many, tmp_path, "many.h5")


def test_the_threads_of_an_engine_change_no_bit(tmp_path: Path) -> None:
    data = arrays(written(tmp_path / "calibration.npy", 12))
    sets = []
    for threads in (1, 2, 3, 8):
        with engine(threads=threads) as open_engine:
            sets.append(stored(ql.collect(open_engine, data), tmp_path, "one.h5"))
    assert len(set(sets)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_make_the_bytes_of_one_pass(tmp_path: Path, workers: int) -> None:
    data = arrays(written(tmp_path / "calibration.npy"), batch=7)
    with engine() as open_engine:
        one = ql.collect(open_engine, data)
        many = ql.collect(open_engine, data, on=processes(workers, timeout=300.0))
    assert stored(one, tmp_path, "one.h5") == stored(many, tmp_path, "many.h5")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_ray_makes_the_bytes_of_one_pass(tmp_path: Path, workers: int) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'quantlab[ray]'")
    data = arrays(written(tmp_path / "calibration.npy"), batch=7)
    with engine() as open_engine:
        one = ql.collect(open_engine, data)
        many = ql.collect(open_engine, data, on=ray(workers))
    assert stored(one, tmp_path, "one.h5") == stored(many, tmp_path, "many.h5")


def pictures(folder: Path) -> Path:
    """Write images of two sizes, one that cannot be decoded, and one twice."""
    random = np.random.default_rng(0)
    for number in range(30):
        side = 16 if number < 17 else 24
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{number:02}.png")
    (folder / "05.png").write_bytes(b"no image")
    (folder / "29.png").write_bytes((folder / "28.png").read_bytes())
    return folder


def test_images_of_two_sizes_with_a_bad_one_among_them_are_the_bytes_of_one_pass(tmp_path: Path) -> None:
    text = "g (float[N,3,H,W] x) => (float[N,4] y) { c = Conv(x, w) \n r = Relu(c) \n p = GlobalAveragePool(r) \n y = Flatten(p) }"
    model = net(text, w=(4, 3, 3, 3))
    folder = pictures(tmp_path)
    one_set, other = (images(folder, preprocess=PIXELS, batch=5, skip_bad=True) for _ in range(2))
    with engine(model) as open_engine:
        one = ql.collect(open_engine, one_set)
        many = ql.collect(open_engine, other, on=Spread(shard=4))
    assert dict(one) == dict(many)
    assert one.provenance == many.provenance
    assert one_set.skipped == other.skipped == ("05.png",)


def test_a_shard_without_a_readable_image_is_no_error(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "99.png")
    data = images(tmp_path, preprocess=PIXELS, skip_bad=True)
    with engine() as open_engine:
        found = ql.collect(open_engine, data, on=Spread(shard=4))
    assert found["x"].total == 3 * 16 * 16  # type: ignore[union-attr]
    assert len(data.skipped) == 12


@pytest.mark.parametrize("cut", [(0, 5), (3, 11), (10, 11), (4, 4)])
def test_a_part_of_the_data_holds_its_samples_and_nothing_else(tmp_path: Path, cut: tuple[int, int]) -> None:
    start, stop = cut
    with engine() as open_engine:
        drawn = random_data({"x": open_engine.inputs["x"]}, 11, 0, batch=3)
    sets: list[Divisible] = [
        arrays(written(tmp_path / "a.npy", 11), batch=3),
        arrays(written(tmp_path / "a.npz", 11), batch=3),
        drawn,
    ]
    for whole in sets:
        part = whole.part(start, stop)
        rows = [name for batch in part for name in batch.names]
        assert rows == [whole.sample_name(place) for place in range(start, stop)]
        assert rows == [part.sample_name(place) for place in range(len(part))]
        assert part.sample_hashes == whole.sample_hashes[start:stop]
        assert [key for batch in part for key in batch.hashes] == [key for batch in whole for key in batch.hashes][
            start:stop
        ]


def test_a_run_that_ends_early_goes_on_from_what_it_has(tmp_path: Path) -> None:
    data = arrays(written(tmp_path / "calibration.npy", 40))
    seen: list[int] = []

    class EndedError(Exception):
        pass

    def end(done: int, total: int | None) -> None:
        seen.append(done)
        if done >= 16:
            raise EndedError

    spread = Spread(parts=tmp_path / "histograms.h5.parts", shard=8)
    with engine() as open_engine:
        with pytest.raises(EndedError):
            ql.collect(open_engine, data, on=spread, options=ql.CollectOptions(progress=end))
        begun = len(list((tmp_path / "histograms.h5.parts").iterdir()))
        assert begun > 0
        restarted: list[int] = []
        options = ql.CollectOptions(progress=lambda done, _: restarted.append(done))
        many = ql.collect(open_engine, data, on=spread, options=options)
        one = ql.collect(open_engine, data)
    assert restarted[0] >= 16
    assert stored(one, tmp_path, "one.h5") == stored(many, tmp_path, "many.h5")
    spread.clear()
    assert not (tmp_path / "histograms.h5.parts").exists()


def test_parts_of_another_model_or_other_options_are_never_taken(tmp_path: Path) -> None:
    data = arrays(written(tmp_path / "calibration.npy", 20))
    spread = Spread(parts=tmp_path / "parts", shard=8)
    with engine() as open_engine:
        ql.collect(open_engine, data, on=spread)
        first: list[int] = []
        options = ql.CollectOptions(progress=lambda done, _: first.append(done))
        ql.collect(open_engine, data, on=spread, options=options)
        assert first[0] == 20  # its own parts are
        other: list[int] = []
        options = ql.CollectOptions(nonfinite="count", progress=lambda done, _: other.append(done))
        ql.collect(open_engine, data, on=spread, options=options)
        assert other[0] == 0
        shorter: list[int] = []
        options = ql.CollectOptions(progress=lambda done, _: shorter.append(done))
        ql.collect(open_engine, data.part(0, 19), on=spread, options=options)
        assert shorter[0] == 0
    with ort(residual_net(), expose=("c1", "a2")) as another:
        fewer: list[int] = []
        options = ql.CollectOptions(progress=lambda done, _: fewer.append(done))
        ql.collect(another, data, on=spread, options=options)
        assert fewer[0] == 0


def test_parts_of_a_machine_that_differs_are_refused_unless_mixing_is_allowed(tmp_path: Path) -> None:
    from quantlab.workers.collecting import Counted
    from quantlab.workers.loop import Survival
    from quantlab.workers.part_form import Head

    data = arrays(written(tmp_path / "calibration.npy", 20))
    spread = Spread(parts=tmp_path / "parts", shard=8)
    with engine() as open_engine:
        one = ql.collect(open_engine, data, on=spread)
        path = min((tmp_path / "parts").iterdir())
        part = Counted.parse(path.read_bytes())
        other = Counted(Head((Facts({"onnxruntime": "0.1"}, "an old one"),), part.head.hashes), part.histograms)
        start, stop, recipe = path.stem.split("-")[1:4]
        path.unlink()
        Shelf(tmp_path / "parts", recipe).put(int(start), int(stop), other.render())
        with pytest.raises(StaleError, match=r"machines that differ.*an old one.*--allow-mixed"):
            ql.collect(open_engine, data, on=spread)
        mixed = ql.collect(
            open_engine, data, on=Spread(parts=tmp_path / "parts", shard=8, survival=Survival(allow_mixed=True))
        )
    assert dict(mixed) == dict(one)
    assert " + " in mixed.provenance.versions["onnxruntime"]
    assert "an old one" in mixed.provenance.versions["processors"]


def test_data_that_change_meanwhile_are_refused(tmp_path: Path) -> None:
    data = arrays(written(tmp_path / "calibration.npy", 20))
    assert data.identity.count == 20
    np.save(tmp_path / "calibration.npy", np.zeros((20, 3, 16, 16), np.float32))
    with engine() as open_engine, pytest.raises(StaleError, match="another sample 0 than was declared"):
        ql.collect(open_engine, data, on=Spread(shard=8))


def test_nan_is_refused_in_the_words_of_one_pass(tmp_path: Path) -> None:
    rows = np.zeros((20, 3, 16, 16), np.float32)
    rows[9, 0, 0, 0] = np.nan
    np.save(tmp_path / "bad.npy", rows)
    said = []
    for on in (None, Spread(shard=4)):
        with engine() as open_engine, pytest.raises(InputError) as caught:
            ql.collect(open_engine, arrays(tmp_path / "bad.npy", batch=4), on=on)
        said.append(str(caught.value).split(";")[0])
    assert said[0] == said[1]


@pytest.mark.slow
def test_a_sample_with_nan_is_left_out_and_the_rest_is_as_without_it(tmp_path: Path) -> None:
    written(tmp_path / "good.npy", 20)
    rows = np.load(tmp_path / "good.npy")
    bad = np.insert(rows, 9, np.nan, axis=0)
    np.save(tmp_path / "bad.npy", bad)
    told: list[str] = []
    asked = Workers(workers=1, shard=8)
    spread = asked.spread(None, skip_bad=True, told=lambda samples: told.extend(map(str, samples)))
    with engine() as open_engine:
        found = ql.collect(open_engine, arrays(tmp_path / "bad.npy"), on=spread)
        without = ql.collect(open_engine, arrays(tmp_path / "good.npy", name="bad"))
    assert dict(found) == dict(without)
    assert found.provenance == without.provenance
    assert len(told) == 1
    assert told[0].startswith("«bad[9]» (sample 9): Tensor «x»")


def test_what_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    rows = [{"x": np.zeros((2, 3, 16, 16), np.float32)}]
    data = arrays(written(tmp_path / "calibration.npy", 20))
    with engine() as open_engine:
        with pytest.raises(UsageError, match="only be read from the start"):
            ql.collect(open_engine, rows, on=processes(2))
        with pytest.raises(UsageError, match=r"grid depends on the order.*one process"):
            ql.collect(open_engine, data, grid=TensorRTGrid(4), on=processes(2))
        recorded = ql.record(open_engine.restrict(("y",)), data).engine()
    with pytest.raises(UsageError, match="cannot be opened anew by workers"):
        ql.collect(recorded, data, on=processes(2))


def test_a_model_that_mixes_the_samples_of_a_batch_is_refused(tmp_path: Path) -> None:
    text = "g (float[N,3] x) => (float[N,3] y) { m = ReduceMean<axes = [0], keepdims = 1>(x) \n y = Sub(x, m) }"
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32))
    with engine(net(text)) as open_engine, pytest.raises(UsageError, match="mixes the samples of a batch"):
        ql.collect(open_engine, arrays(tmp_path / "rows.npy"), on=Spread(shard=4))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"workers": 0}, "number of workers"),
        ({"workers": 2, "threads": 0}, "number of threads"),
        ({"workers": 2, "shard": -1}, "samples of a shard"),
        ({"timeout": 3.0}, "say how many"),
        ({"kind": "ray"}, "say how many"),
        ({"workers": 2, "address": "auto"}, "--engine ray"),
    ],
)
def test_numbers_and_combinations_that_cannot_be_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Workers(**fields)
