"""Triton model repositories of plans and ONNX models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from quantlab.deploy import triton
from quantlab.deploy.checksums import write_sums
from quantlab.deploy.serving import Serving
from quantlab.deploy.triton import Labels, write_triton
from quantlab.deploy.triton_schema import parse_config
from quantlab.deploy.verify import Verified, verify
from quantlab.engines.tensorrt.plan import read_plan
from quantlab.errors import InputError, MachineError, StaleError, UsageError
from quantlab.graph.model import load_model
from tests.deploy.bundles import plan_of

pytest.importorskip("tritonclient", reason="needs tritonclient: pip install 'quantlab[triton]'")


def config(folder: Path) -> dict[str, object]:
    return parse_config((folder / "config.pbtxt").read_text())


def test_a_model_becomes_a_repository_that_loads(place: Path) -> None:
    model = load_model(place / "run" / "model.ort.onnx")
    done, made = write_triton(place / "repo", model, serving=Serving(name="net", device="cpu"))
    assert made
    assert sorted(done.files) == ["1/model.onnx", "bundle.json", "config.pbtxt"]
    found = config(place / "repo" / "net")
    assert (found["name"], found["platform"], found["max_batch_size"]) == ("net", "onnxruntime_onnx", 32)
    assert load_model(place / "repo" / "net" / "1" / "model.onnx") == model
    assert any("its tensors are those that onnxruntime" in check for check in done.checks)
    assert {data.name for data in done.bundle.chosen_on} == {"calibration", "tuning"}
    assert not write_triton(place / "repo", model, serving=Serving(name="net", device="cpu"))[1]


def test_large_weights_go_beside_the_model(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((600, 600), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 600])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 600])],
        [weight],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "weights").mkdir()
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="weights/w.bin", size_threshold=0)
    done, _ = write_triton(tmp_path / "repo", load_model(tmp_path / "m.onnx"), serving=Serving())
    assert load_model(done.folder / "1" / "model.onnx").digest == load_model(tmp_path / "m.onnx").digest


def test_a_plan_is_served_by_what_its_model_and_profiles_say(place: Path) -> None:
    plan = plan_of(place / "model.onnx", place / "int8 (best).plan")
    done, _ = write_triton(place / "repo", plan, serving=Serving(), model=load_model(place / "model.onnx"))
    assert done.folder.name == "int8_best"
    found = config(done.folder)
    assert (found["platform"], found["max_batch_size"]) == ("tensorrt_plan", 16)
    assert found["dynamic_batching"] == {"preferred_batch_size": [8]}
    assert read_plan(done.folder / "1" / "model.plan").card == read_plan(plan).card
    assert any("TensorRT 8.6.1 on NVIDIA H200" in note for note in done.bundle.notes)
    assert any("libown.so" in note for note in done.bundle.notes)
    assert any("only its card was checked" in note for note in verify(done.folder).notes)


def test_a_plan_alone_does_not_tell_its_inputs(place: Path) -> None:
    with pytest.raises(MachineError, match="give --model"):
        write_triton(place / "repo", plan_of(place / "model.onnx", place / "m.plan"), serving=Serving())
    assert not (place / "repo").exists()


def test_an_old_plan_takes_int32_where_its_model_takes_int64(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (int64[n,4] ids, float[n,4] x) => (float[n,4] y) { f = Cast <to = 1> (ids)
          y = Add (f, x) }""")
    onnx.save(proto, tmp_path / "m.onnx")
    model, none = load_model(tmp_path / "m.onnx"), {"profiles": ()}
    for version, kind in (("8.6.1", "TYPE_INT32"), ("10.3.0", "TYPE_INT64")):
        plan = plan_of(tmp_path / "m.onnx", tmp_path / f"v{version[:2].rstrip('.')}.plan", version=version, **none)
        done, _ = write_triton(tmp_path / "repo", plan, serving=Serving(), model=model)
        assert config(done.folder)["input"][0]["data_type"] == kind  # type: ignore[index]


def test_labels_are_for_an_output_and_as_many_as_its_classes(place: Path) -> None:
    model = load_model(place / "model.onnx")
    (place / "names.txt").write_text("a\r\nb\nc\nü\n", encoding="utf-8")
    done, _ = write_triton(place / "repo", model, serving=Serving(), labels=Labels(place / "names.txt"))
    assert config(done.folder)["output"][0]["label_filename"] == "labels.txt"  # type: ignore[index]
    assert (done.folder / "labels.txt").read_text(encoding="utf-8") == "a\nb\nc\nü\n"
    (place / "names.txt").write_text("a\n")
    with pytest.raises(InputError, match="has 1 labels, and the output 4 classes"):
        write_triton(place / "repo", model, serving=Serving(name="x"), labels=Labels(place / "names.txt"))
    with pytest.raises(UsageError, match="no output «y»"):
        write_triton(place / "repo", model, serving=Serving(name="x"), labels=Labels(place / "names.txt", "y"))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"library": "tensorrt_rtx"}, UsageError, "TensorRT-RTX"),
        ({"stripped": True}, InputError, "without its weights"),
        ({"model": "sha256:" + "0" * 64}, StaleError, "give the model that it was built from"),
        ({"digest": "sha256:" + "0" * 64}, StaleError, "is not the plan that"),
    ],
)
def test_a_plan_that_cannot_be_served_is_refused(place: Path, changed: object, error: type, words: str) -> None:
    plan = plan_of(place / "model.onnx", place / "m.plan", **changed)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        write_triton(place / "repo", plan, serving=Serving(), model=load_model(place / "model.onnx"))
    assert not (place / "repo" / "m").exists()


@pytest.mark.parametrize(
    ("before", "after"), [("dims: 8", "dims: 9"), ("TYPE_FP32", "TYPE_FP16"), ('name: "image"', 'name: "img"')]
)
def test_a_config_of_another_network_is_refused_though_its_checksum_is_right(
    place: Path, before: str, after: str
) -> None:
    done, _ = write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    path = done.folder / "config.pbtxt"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(StaleError, match="was changed after"):
        verify(done.folder)
    write_sums(done.folder)
    with pytest.raises(StaleError, match=r"config\.pbtxt are not those of the network"):
        verify(done.folder)


def test_a_model_is_verified_from_inside_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    for inside in (done.folder, done.folder / "1"):
        monkeypatch.chdir(inside)
        verify(Path("." if inside == done.folder else ".."))


def test_nothing_half_made_lies_in_a_repository(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton takes each folder there for a model, hidden ones too, and a leftover of a killed process would stop it."""
    seen = []

    def looking(folder: Path, *, model: object = None) -> Verified:
        seen.append((folder.parent, sorted(path.name for path in (place / "repo").iterdir())))
        return verify(folder)

    monkeypatch.setattr(triton, "verify", looking)
    write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    assert seen == [(place, [])]


def test_a_version_that_is_not_the_bundles_is_refused_as_triton_would_serve_it(place: Path) -> None:
    done, _ = write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    (done.folder / "2").mkdir()
    with pytest.raises(InputError, match="Triton would serve it as a version"):
        verify(done.folder)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("onnxruntime_onnx", "pytorch_libtorch", "does not serve the network as onnxruntime_onnx"),
        ('name: "net"', 'name: "net"\nbackend: "python"', "does not serve the network as onnxruntime_onnx"),
        ("dims: 1", "dims: 2", "are not those of the network"),
    ],
)
def test_a_config_that_runs_something_else_is_refused(place: Path, before: str, after: str, words: str) -> None:
    done, _ = write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    path = done.folder / "config.pbtxt"
    path.write_text(path.read_text().replace(before, after, 1))
    write_sums(done.folder)
    with pytest.raises(StaleError, match=words):
        verify(done.folder)


def test_a_config_that_batches_a_fixed_network_is_refused(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[8,4] x) => (float[8,4] y) { y = Relu (x) }'
    )
    onnx.save(proto, tmp_path / "m.onnx")
    done, _ = write_triton(tmp_path / "repo", load_model(tmp_path / "m.onnx"), serving=Serving())
    path = done.folder / "config.pbtxt"
    path.write_text(path.read_text().replace("  dims: 8\n", "") + "max_batch_size: 4\n")
    write_sums(done.folder)
    with pytest.raises(StaleError, match="no free batch"):
        verify(done.folder)


def test_a_folder_of_another_name_is_not_what_triton_loads(place: Path) -> None:
    done, _ = write_triton(place / "repo", load_model(place / "model.onnx"), serving=Serving(name="net"))
    done.folder.rename(place / "repo" / "other")
    with pytest.raises(InputError, match="Triton wants its folder's name"):
        verify(place / "repo" / "other")
