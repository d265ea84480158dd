"""The largest magnitude of each channel, over a few samples."""

from __future__ import annotations

import numpy as np
import pytest

from quantlab import engines
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.tuning.peaks import channel_peaks
from tests.graph.nets import net_of
from tests.networks import image_batch, small_cnn
from tests.tuning.nets import Rows


@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("axis", [1, -3])
def test_peaks_are_those_of_all_values_at_once(batch: int, axis: int) -> None:
    model, images = small_cnn(), image_batch(20)
    with engines.ort(model, expose=("conv1",), threads=1) as engine:
        values = engine.run({"image": images})["conv1"]
    found = channel_peaks(load_model(model), {"conv1": axis}, Rows({"image": images}, batch), threads=1)
    assert found["conv1"].dtype == np.float32
    assert np.allclose(found["conv1"], np.abs(values).max(axis=(0, 2, 3)), rtol=1e-6)


def test_a_fixed_batch_is_filled_up() -> None:
    data = Rows({"image": image_batch(21)}, 32)
    free, fixed = (
        channel_peaks(load_model(small_cnn(batch=size)), {"conv1": 1}, data, threads=1) for size in ("batch", 8)
    )
    assert np.allclose(free["conv1"], fixed["conv1"], rtol=1e-6)


def test_no_more_samples_are_run_than_asked_for() -> None:
    images = image_batch(40)
    images[8:] *= 100
    found = channel_peaks(load_model(small_cnn()), {"conv1": 1}, Rows({"image": images}, 4), samples=8, threads=1)
    assert found["conv1"].max() < 100


def test_nothing_is_asked_and_nothing_run() -> None:
    assert channel_peaks(load_model(small_cnn()), {}, Rows({"other": image_batch(4)}), threads=1) == {}


def test_nan_is_refused_by_name() -> None:
    model = net_of("g (float[N,4] x) => (float[N,3] y) { a = Log(x) \n y = MatMul(a, w) }", w=np.ones((4, 3), "f"))
    with pytest.raises(InputError, match="«a» holds NaN or infinity"):
        channel_peaks(load_model(model), {"a": -1}, Rows({"x": np.full((4, 4), -1, "f")}), threads=1)
