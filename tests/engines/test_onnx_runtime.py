from __future__ import annotations

import numpy as np
import pytest

from quantlab import engines
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.errors import InputError
from quantlab.graph import stored_tensors
from tests.networks import image_batch, small_cnn


def test_outputs_are_buffers_that_the_next_run_overwrites() -> None:
    with engines.ort(small_cnn()) as engine:
        first = engine.run({"image": image_batch(3, 1)})["logits"]
        kept = first.copy()
        second = engine.run({"image": image_batch(3, 2)})["logits"]
    assert first is second
    assert not np.array_equal(kept, second)


def test_exposing_changes_no_logit() -> None:
    images = image_batch(4)
    with engines.ort(small_cnn()) as plain, engines.ort(small_cnn(), expose="all") as exposed:
        one, two = plain.run({"image": images})["logits"], exposed.run({"image": images})["logits"]
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_an_exposed_input_is_handed_through() -> None:
    images = image_batch(2)
    with engines.ort(small_cnn(), expose=("image",)) as engine:
        assert np.array_equal(engine.run({"image": images})["image"], images)


def test_a_new_batch_size_gets_new_buffers() -> None:
    with engines.ort(small_cnn(), expose="all") as engine:
        assert engine.run({"image": image_batch(2)})["conv1"].shape == (2, 8, 10, 10)
        assert engine.run({"image": image_batch(5)})["conv1"].shape == (5, 8, 10, 10)


def test_patterns_choose_tensors_and_a_wrong_one_names_near_ones() -> None:
    with engines.ort(small_cnn(), expose=("conv*",)) as engine:
        assert list(engine.outputs) == ["conv1", "conv2"]
    with pytest.raises(InputError, match="conv"):
        engines.ort(small_cnn(), expose=("convv1",))


def test_the_backend_names_version_and_instruction_set() -> None:
    with engines.ort(small_cnn(), optimize=False) as engine:
        assert engine.backend.startswith("onnxruntime ")
        assert "unoptimized" in engine.backend


def test_a_model_that_cannot_run_is_one_sentence() -> None:
    broken = small_cnn()
    broken.graph.node[0].domain = "nobody.knows"
    broken.opset_import.add(domain="nobody.knows", version=1)
    with pytest.raises(InputError, match="ONNX Runtime cannot load the model"):
        engines.ort(broken)


def test_a_model_beyond_protobufs_limit_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"image": image_batch(3)}
    with engines.ort(small_cnn(), expose="all") as engine:
        wanted = {name: value.copy() for name, value in engine.run(images).items()}
    monkeypatch.setattr(stored_tensors, "PROTOBUF_LIMIT", 1000)  # 2 GB would be too much for a test
    with engines.ort(small_cnn(), expose="all") as engine:
        assert isinstance(engine, OrtEngine)
        found = engine.run(images)
        assert all(np.array_equal(found[name], value) for name, value in wanted.items())
        last = tuple(wanted)[-1]
        with engine.exposing((last,)) as part:
            assert np.array_equal(part.run(images)[last], wanted[last])
        with pytest.raises(InputError, match="cannot be sent to workers"):
            _ = engine.opening
