"""Flipped samples, and where their error leaves the usual."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.builder import quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.one_pass import Pair
from quantlab.comparison.tensors import TensorProbe
from quantlab.data.batch import Batch
from quantlab.diagnosis.flips import Flips, find_flips, inner_tensors
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model, load_model
from quantlab.numerics.arrays import F32
from tests.diagnosis.fashion import NETWORK, batches, pixels, prepared
from tests.networks import image_batch, small_cnn


def small_range(net: onnx.ModelProto, values: F32) -> Model:
    """Return the network quantized by what these values need."""
    with engines.ort(net, expose="quantizable", threads=1) as engine:
        return quantize(net, calibrate(collect(engine, [{"image": values}]), MinMax())).model


@contextmanager
def pair(net: onnx.ModelProto, int8: Model) -> Iterator[Pair]:
    shown = inner_tensors(load_model(net), int8)
    with ExitStack() as opened:
        one, two = (opened.enter_context(engines.ort(m, optimize=False, threads=1)) for m in (net, int8))
        inner = [opened.enter_context(engines.ort(m, expose=shown, optimize=False, threads=1)) for m in (net, int8)]
        yield Pair(one, two, TensorProbe(inner[0], inner[1], tensors=shown, batch=8))


@pytest.fixture(scope="module")
def net() -> onnx.ModelProto:
    return load_model(NETWORK).proto


@pytest.fixture(scope="module")
def int8(net: onnx.ModelProto) -> Model:
    return small_range(net, prepared(pixels(100)))


@pytest.fixture(scope="module")
def values() -> F32:
    """Sixty images like the calibration's, one of them of six times the contrast."""
    made = prepared(pixels(60, 100))
    made[30] *= 6
    return made


@pytest.fixture(scope="module")
def found(net: onnx.ModelProto, int8: Model, values: F32) -> Flips:
    with pair(net, int8) as both:
        return find_flips(both, batches(values))


def test_the_flips_are_those_that_compare_finds(net: onnx.ModelProto, int8: Model, values: F32, found: Flips) -> None:
    with pair(net, int8) as both:
        compared = compare(both.fp32, both.int8, batches(values), metrics=(), options=CompareOptions(final=False))
    assert tuple(sample.flip for sample in found.flipped) == compared.flips
    assert found.samples == 60


def test_a_sample_beyond_the_range_jumps_where_it_is_first_clipped(found: Flips) -> None:
    jumped = {sample.flip.name: sample for sample in found.flipped if sample.tensor}
    assert set(jumped) == {"30.png"}
    sample = jumped["30.png"]
    assert (
        sample.tensor == "/stem/act/Clip_output_0"
    )  # the image itself is still exact: its own rounding comes after it
    assert sample.sqnr_db is not None
    assert sample.usual_sqnr_db is not None
    assert sample.sqnr_db < sample.usual_sqnr_db - 10
    assert "first seen in «/stem/act/Clip_output_0»" in found.sentence


def test_the_margin_is_fp32s_own(net: onnx.ModelProto, values: F32, found: Flips) -> None:
    assert found.flipped
    with engines.ort(net, optimize=False, threads=1) as engine:
        scores = np.array(engine.run({"image": values})["logits"])
    for sample in found.flipped:
        gap = scores[sample.flip.index, sample.flip.fp32] - scores[sample.flip.index, sample.flip.int8]
        assert sample.margin == pytest.approx(float(gap), abs=1e-4)


def test_nothing_flips_between_a_network_and_itself(net: onnx.ModelProto, values: F32) -> None:
    with (
        engines.ort(net, threads=1) as one,
        engines.ort(net, expose=("*Relu*",), threads=1) as inner,
    ):
        same = find_flips(Pair(one, one, TensorProbe(inner, inner)), batches(values[:9]))
    assert same.flipped == ()
    assert same.sentence.startswith("None of the 9 samples")


def test_where_all_flip_there_is_no_usual_error(net: onnx.ModelProto, int8: Model, values: F32) -> None:
    with pair(net, int8) as both:
        alone = find_flips(both, [Batch({"image": values[30:31]})])
    assert [(sample.tensor, sample.flip.name) for sample in alone.flipped] == [("", "")]
    assert alone.usual_margin is None
    assert "1 of 1 samples" in alone.sentence


def test_a_sample_with_nan_flips_at_its_first_tensor(net: onnx.ModelProto, int8: Model, values: F32) -> None:
    broken = values[:20].copy()
    broken[4] = np.nan
    with pair(net, int8) as both:
        seen = find_flips(both, batches(broken))
    sample = next(sample for sample in seen.flipped if sample.flip.index == 4)
    assert (sample.flip.fp32, sample.margin, sample.tensor) == (-1, None, "image")


def test_a_network_without_class_scores_says_so() -> None:
    net = small_cnn()
    del net.graph.node[5:]
    net.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("relu", onnx.TensorProto.FLOAT, None))
    with engines.ort(net, threads=1) as engine:
        found = find_flips(Pair(engine, engine, TensorProbe(engine, engine)), [{"image": image_batch(3)}])
    assert (found.samples, found.flipped) == (0, ())
    assert "no output is known to hold class scores" in found.sentence


def test_what_cannot_be_is_refused() -> None:
    net = small_cnn()
    with engines.ort(net, threads=1) as engine:
        with pytest.raises(UsageError, match="TensorProbe"):
            find_flips(Pair(engine, engine), [{"image": image_batch(3)}])
        with pytest.raises(InputError, match="no sample"):
            find_flips(Pair(engine, engine, TensorProbe(engine, engine)), [{"image": image_batch(0)}])
    with pytest.raises(InputError, match="quantizes no activation"):
        inner_tensors(load_model(net), load_model(net))
