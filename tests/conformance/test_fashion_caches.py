"""What TensorRT 8.6's own calibrators wrote for the shipped network on an H200, and what quantlab makes of the same images."""

from pathlib import Path
from typing import Any

import pytest

import quantlab as ql
from quantlab.calibration.trt_cache import parse_cache
from quantlab.data import Preprocess

ROOT = Path(__file__).parents[2]
NET, GOLDEN = ROOT / "calib_data" / "fashion_net.onnx", ROOT / "tests" / "golden" / "trt-8.6"
GREY = Preprocess(color="GRAY", scale=1 / 255, mean=0.2860, std=0.3530)


@pytest.fixture(scope="module")
def histograms() -> ql.HistogramSet:
    images = ql.data.arrays(NET.parent / "calibration.npz", preprocess=GREY, batch=32)
    with ql.engines.ort(NET, expose="all") as engine:
        return ql.collect(engine, images, grid=ql.TensorRTGrid(batch=32))


@pytest.mark.parametrize(("name", "method"), [("entropy2", ql.TensorRTEntropy2()), ("minmax", ql.TensorRTMinMax())])
def test_every_scale_is_the_native_calibrators(histograms: ql.HistogramSet, name: str, method: Any) -> None:
    native = parse_cache((GOLDEN / f"fashion_net.{name}.cache").read_text()).scales
    ours = ql.calibrate(histograms, method)
    both = [tensor for tensor in native if tensor in ours]
    assert len(both) >= 20
    apart = {tensor: (native[tensor], ours[tensor].scale[0]) for tensor in both}
    assert not {tensor: pair for tensor, pair in apart.items() if abs(pair[0] / pair[1] - 1) > 1e-4}
