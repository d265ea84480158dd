"""What Triton is told of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.deploy.serving import Served, Serving, config_fields
from quantlab.deploy.triton_schema import parse_config, render_config
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import Profile
from quantlab.errors import InputError, UsageError

Shape = tuple[int | str | None, ...]


def served(inputs: dict[str, Shape], outputs: dict[str, Shape], **more: Any) -> Served:
    def specs(shapes: dict[str, Shape]) -> dict[str, TensorSpec]:
        return {name: TensorSpec(name, np.dtype(np.float32), shape) for name, shape in shapes.items()}

    return Served(more.pop("platform", "onnxruntime_onnx"), specs(inputs), specs(outputs), **more)


NET = served({"image": ("n", 3, "h", 224)}, {"logits": ("n", 10)})
FIXED = served({"image": (8, 3, 4, 4)}, {"logits": (8, 10)})
PROFILES = tuple(
    Profile({"image": ((1, 3, 4, 4), (best, 3, 4, 4), (most, 3, 4, 4))}) for best, most in ((4, 8), (32, 64))
)
PLAN = served({"image": ("batch", 3, 4, 4)}, {"logits": ("batch", 10)}, platform="tensorrt_plan", profiles=PROFILES)


def test_a_free_batch_is_left_out_and_other_free_dimensions_are_minus_one() -> None:
    fields = config_fields(NET, Serving(name="net"))
    assert fields["max_batch_size"] == 32
    assert fields["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, 224]}]
    assert fields["output"] == [{"name": "logits", "data_type": "TYPE_FP32", "dims": [10]}]
    assert fields["dynamic_batching"] == {}
    assert fields["instance_group"] == [{"count": 1, "kind": "KIND_AUTO"}]


def test_a_fixed_batch_stays_and_nothing_is_joined() -> None:
    fields = config_fields(FIXED, Serving(name="net"))
    assert fields["max_batch_size"] == 0
    assert fields["input"][0]["dims"] == [8, 3, 4, 4]
    assert "dynamic_batching" not in fields
    with pytest.raises(UsageError, match=r"image: float32\[8, 3, 4, 4\]» has no free first dimension"):
        config_fields(FIXED, Serving(name="net", max_batch=4))


def test_an_output_that_counts_something_else_is_no_batch_unless_it_is_said() -> None:
    boxes = served({"image": ("n", 3)}, {"boxes": ("found", 6)})
    assert config_fields(boxes, Serving(name="net"))["max_batch_size"] == 0
    assert config_fields(boxes, Serving(name="net"))["output"][0]["dims"] == [-1, 6]
    assert config_fields(boxes, Serving(name="net", max_batch=4))["max_batch_size"] == 4


def test_no_batching_keeps_every_dimension() -> None:
    fields = config_fields(NET, Serving(name="net", max_batch=0))
    assert (fields["max_batch_size"], fields["input"][0]["dims"]) == (0, [-1, 3, -1, 224])


def test_a_number_a_sample_is_reshaped() -> None:
    fields = config_fields(served({"x": ("n",)}, {"y": ("n",)}), Serving(name="net"))
    assert fields["input"][0] == {"name": "x", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}


def test_a_tensor_without_dimensions_is_reshaped_only_where_triton_batches() -> None:
    """`ValidateIOShape` of Triton refuses an empty reshape where max_batch_size is 0, and ONNX Runtime's backend needs none."""
    scalar = served({"x": (), "y": ("n", 4)}, {"z": ()})
    fields = config_fields(scalar, Serving(name="net"))
    assert fields["max_batch_size"] == 0
    assert fields["input"][0] == {"name": "x", "data_type": "TYPE_FP32", "dims": [1]}
    assert fields["output"] == [{"name": "z", "data_type": "TYPE_FP32", "dims": [1]}]
    with pytest.raises(InputError, match="no dimensions"):  # its TensorRT backend compares ranks
        config_fields(served({"x": (), "y": ("n", 4)}, {"z": ()}, platform="tensorrt_plan"), Serving(name="net"))


@pytest.mark.parametrize("shape", [("n", 0), (0, 4), ("n", 3, 0)])
def test_an_empty_tensor_is_refused_as_triton_would(shape: Shape) -> None:
    with pytest.raises(InputError, match="empty dimension"):
        config_fields(served({"x": shape}, {"y": ("n", 1)}), Serving(name="net"))


def test_a_profile_takes_the_batch_that_all_its_inputs_take() -> None:
    profiles = (
        Profile({"a": ((1, 3), (8, 3), (16, 3)), "b": ((1, 2), (4, 2), (4, 2))}),
        Profile({"a": ((1, 3), (8, 3), (8, 3)), "b": ((1, 2), (8, 2), (8, 2))}),
    )
    plan = served({"a": ("n", 3), "b": ("n", 2)}, {"y": ("n", 1)}, platform="tensorrt_plan", profiles=profiles)
    fields = config_fields(plan, Serving(name="net"))
    assert fields["max_batch_size"] == 8
    assert fields["dynamic_batching"] == {"preferred_batch_size": [4, 8]}
    with pytest.raises(UsageError, match="at most 8 samples, not 16"):
        config_fields(plan, Serving(name="net", max_batch=16))


def test_a_plans_profiles_decide_batches_and_instances() -> None:
    fields = config_fields(PLAN, Serving(name="net", instances=2))
    assert fields["max_batch_size"] == 64
    assert fields["dynamic_batching"] == {"preferred_batch_size": [4, 32]}
    assert fields["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "profile": ["0", "1"]}]
    smaller = config_fields(PLAN, Serving(name="net", max_batch=16, queue_delay=100))
    assert smaller["dynamic_batching"] == {"preferred_batch_size": [4], "max_queue_delay_microseconds": 100}
    with pytest.raises(UsageError, match="at most 64 samples, not 65"):
        config_fields(PLAN, Serving(name="net", max_batch=65))
    with pytest.raises(UsageError, match="a GPU"):
        config_fields(PLAN, Serving(name="net", device="cpu"))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Serving(name="a/b"), "letters, digits"),
        (lambda: Serving(device="tpu"), "not on «tpu»"),  # type: ignore[arg-type]
        (lambda: Serving(instances=0), "instances"),
        (lambda: Serving(max_batch=-1), "largest batch"),
        (lambda: Serving(queue_delay=-1), "microseconds"),
        (lambda: config_fields(NET, Serving(name="n", max_batch=8, preferred=(9,))), "1 … 8"),
        (lambda: config_fields(NET, Serving(name="n", max_batch=1, preferred=(1,))), "several samples"),
    ],
)
def test_what_cannot_be_is_refused(made: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made()


@given(
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
    st.lists(st.integers(-1, 2**40).filter(bool), min_size=1, max_size=6),
    st.integers(2, 2**20),
)
def test_the_schema_gives_back_what_it_was_given(name: str, dims: list[int], largest: int) -> None:
    pytest.importorskip("tritonclient", reason="needs tritonclient: pip install 'quantlab[triton]'")
    shape = ("n", *(None if n == -1 else n for n in dims))
    fields = config_fields(served({name: shape}, {"y": ("n", 1)}), Serving(name="net", max_batch=largest))
    found = parse_config(render_config(fields))
    assert found["input"][0]["name"] == name
    assert [int(n) for n in found["input"][0]["dims"]] == dims
    assert found["max_batch_size"] == largest


@pytest.mark.parametrize(
    "text", ["naem: 'x'", "max_batch_size: 'x'", "input {", "input { dims: 1 dims: x }", "\x00", "{" * 5000]
)
def test_text_of_another_schema_is_refused(text: str) -> None:
    pytest.importorskip("tritonclient", reason="needs tritonclient: pip install 'quantlab[triton]'")
    with pytest.raises(InputError, match="no model configuration"):
        parse_config(text)
    with pytest.raises(InputError, match="does not take"):
        render_config({"naem": "x"})
