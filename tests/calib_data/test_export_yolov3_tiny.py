from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from calib_data.export_yolov3_tiny import Norm, Size, build, fold, parse_weights
from quantlab.numerics.arrays import F32, Tensors

TINY = Size(width=1, classes=2, side=64)


def weights(count: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).uniform(0.05, 0.15, count).astype(np.float32)


def count_weights(size: Size) -> int:
    """Count as the configuration file does: inputs, filters and kernel of each layer, in its order."""
    w, head = size.width, size.head
    normed = [(3, w, 3), *((w << i, w << (i + 1), 3) for i in range(6)), (64 * w, 16 * w, 1), (16 * w, 32 * w, 3)]
    normed += [(16 * w, 8 * w, 1), (24 * w, 16 * w, 3)]
    plain = [(32 * w, head), (16 * w, head)]
    return sum(i * o * k * k + 4 * o for i, o, k in normed) + sum(i * o + o for i, o in plain)


def run(size: Size, images: F32) -> Tensors:
    model = build(weights(count_weights(size)), size)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(("coarse", "fine"), session.run(["coarse", "fine"], {"input": images}), strict=True))


def test_the_published_network_has_as_many_weights_as_its_file() -> None:
    assert count_weights(Size()) == (35_434_956 - 20) // 4


@pytest.mark.parametrize("batch", [1, 3])
def test_heads_have_the_shapes_of_their_grids(batch: int) -> None:
    images = np.random.default_rng(1).random((batch, 3, 64, 64)).astype(np.float32)
    got = run(TINY, images)
    assert {name: head.shape for name, head in got.items()} == {"coarse": (batch, 21, 2, 2), "fine": (batch, 21, 4, 4)}
    assert all(np.isfinite(head).all() for head in got.values())


def test_weights_too_many_or_too_few_are_refused() -> None:
    count = count_weights(TINY)
    with pytest.raises(ValueError, match="not its file"):
        build(weights(count + 1), TINY)
    with pytest.raises(ValueError, match="not its file"):
        build(weights(count - 1), TINY)


def test_a_folded_norm_computes_what_convolution_and_norm_compute() -> None:
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(5, 4, 1, 1)).astype(np.float32)
    gamma, beta, mean = rng.normal(size=(3, 5)).astype(np.float32)
    norm = Norm(gamma, beta, mean, rng.uniform(0, 2, 5).astype(np.float32))
    x = rng.normal(size=(4, 100)).astype(np.float32)
    summed = kernel[:, :, 0, 0].astype(np.float64) @ x
    scale = np.sqrt(norm.variance.astype(np.float64)) + 1e-6
    exact = ((summed.T - norm.mean) / scale * norm.gamma + norm.beta).T
    folded, bias = fold(kernel, norm)
    assert folded.dtype == bias.dtype == np.float32
    np.testing.assert_allclose(folded[:, :, 0, 0].astype(np.float64) @ x + bias[:, None], exact, rtol=1e-6, atol=1e-6)


def test_a_channel_that_never_varies_folds_to_finite_weights() -> None:
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    folded, bias = fold(np.ones((1, 1, 1, 1), np.float32), Norm(one, one, zero, zero))
    assert folded.item() == pytest.approx(1e6)
    assert bias.item() == 1


@pytest.mark.parametrize(("version", "header"), [((0, 1, 0), 16), ((0, 2, 0), 20), ((1, 0, 0), 20)])
def test_the_header_is_as_long_as_its_version_says(version: tuple[int, int, int], header: int) -> None:
    values = weights(7)
    raw = np.array(version, "<i4").tobytes() + bytes(header - 12) + values.tobytes()
    assert parse_weights(raw).tolist() == values.tolist()
