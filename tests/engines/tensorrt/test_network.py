"""What a model says of its own quantization, and profiles against the inputs of TensorRT-RTX's network."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quantlab.calibration.provenance import Provenance
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.engines.tensorrt.build import build
from quantlab.engines.tensorrt.build_options import BuildOptions, FromRanges, Profile
from quantlab.engines.tensorrt.network import (
    _load_plugins_once,
    check_scaled,
    has_qdq,
    load_plugins,
    parse,
    qdq_precisions,
)
from quantlab.engines.tensorrt.runtime import library
from quantlab.errors import InputError, StaleError, UsageError
from tests.engines.tensorrt.oracle import Oracle


def _model(nodes: list[onnx.NodeProto], stored: list[onnx.TensorProto], shape: list[Any]) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _pair(zero: list[onnx.TensorProto], nodes: list[onnx.NodeProto], **attributes: Any) -> onnx.ModelProto:
    inputs = ["x", "s", "z"] if zero or nodes else ["x", "s"]
    chain = [
        helper.make_node("QuantizeLinear", inputs, ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", *inputs[1:]], ["y"]),
    ]
    return _model([*nodes, *chain], [numpy_helper.from_array(np.float32(0.1), "s"), *zero], [2])


def _zero(kind: int) -> onnx.TensorProto:
    return helper.make_tensor("z", kind, [], [0])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.INT8, "int8"),
        (TensorProto.UINT8, "int8"),
        (TensorProto.FLOAT8E4M3FN, "fp8"),
        (TensorProto.INT4, "int4"),
    ],
)
def test_a_zero_point_tells_the_precision_however_it_is_written(kind: int, name: str) -> None:
    node = helper.make_node("Constant", [], ["z"], value=_zero(kind))
    for model in (_pair([_zero(kind)], []), _pair([], [node]), _pair([], [], output_dtype=kind)):
        assert has_qdq(model)
        assert qdq_precisions(model) == {name}


def test_without_a_zero_point_it_is_int8_and_without_q_dq_none() -> None:
    assert qdq_precisions(_pair([], [])) == {"int8"}
    float_model = _model([helper.make_node("Relu", ["x"], ["y"])], [], [2])
    assert not has_qdq(float_model)
    assert qdq_precisions(float_model) == frozenset()


@pytest.mark.parametrize(
    ("shape", "profiles", "error", "message"),
    [
        (["n", 3, "h"], (), UsageError, r"free dimensions besides the batch \(\[-1, 3, -1\]\)"),
        (["n", 3, "h"], (Profile.only({"y": (1, 3, 4)}),), InputError, "no input «y»; its inputs are x"),
        (["n", 3, "h"], (Profile({}),), InputError, "but the profile does not name it"),
        (["n", 3, "h"], (Profile.only({"x": (1, 4, 4)}),), InputError, r"the profile's \[1, 4, 4\] does not fit"),
        (["n", 3, "h"], (Profile.only({"x": (1, 3)}),), InputError, r"the profile's \[1, 3\] does not fit"),
    ],
)
def test_profiles_that_do_not_fit_the_network_are_refused(
    rtx: Oracle, shape: list[Any], profiles: tuple[Profile, ...], error: type[Exception], message: str
) -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [], shape)
    with pytest.raises(error, match=message):
        build(model, options=BuildOptions(profiles=profiles), library="tensorrt_rtx")


def test_a_free_batch_gets_one_profile_and_a_fixed_model_none(rtx: Oracle) -> None:
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    free = build(_model(relu, [], ["n", 3]), library="tensorrt_rtx")
    assert free.card.profiles == ({"x": ((1, 3), (32, 3), (32, 3))},)
    assert build(_model(relu, [], [2, 3]), library="tensorrt_rtx").card.profiles == ()


def _reshaped() -> onnx.ModelProto:
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    model = _model([helper.make_node("Reshape", ["x", "shape"], ["y"])], [], ["n", 4])
    model.graph.input.append(shape)
    return model


def test_an_input_that_holds_a_shape_is_refused(rtx: Oracle) -> None:
    with pytest.raises(InputError, match="Input «shape» holds sizes that shapes depend on"):
        build(_reshaped(), library="tensorrt_rtx")


def test_a_table_of_another_model_is_refused_before_anything_is_built() -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [], [2])
    strange = Provenance("sha256:56", "other.onnx", (), {}, "log-linear")
    table = ScaleTable((Scale("x", (0.5,)),), strange)
    with pytest.raises(StaleError, match=r"The scales were made for «other\.onnx»"):
        build(model, int8=FromRanges(table))


def test_scales_of_none_of_the_networks_tensors_are_refused(rtx: Oracle) -> None:
    lib = library("tensorrt_rtx")
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [], [2])
    with lib.log.heard() as heard:
        network = parse(model, lib, heard, strongly_typed=False).network
    check_scaled(network, lib.module, ["stranger", "y"], "scale table")
    for names in ([], ["stranger"]):
        with pytest.raises(InputError, match="scale table has a scale for no tensor of the network, for «x»"):
            check_scaled(network, lib.module, names, "scale table")


def test_a_plugin_library_is_loaded_once_a_process(rtx: Oracle, tmp_path: Path) -> None:
    path = _compiled(tmp_path, "int nothing;")
    lib = library("tensorrt_rtx")
    before = _load_plugins_once.cache_info().misses
    for spelling in (path, path.parent / "." / path.name, path.parent / ".." / path.parent.name / path.name):
        load_plugins(lib, (str(spelling),))
    assert _load_plugins_once.cache_info().misses == before + 1


def test_plugins_that_tensorrt_does_not_take_are_refused(rtx: Oracle, tmp_path: Path) -> None:
    path = _compiled(tmp_path, "void *const *getCreators(int *count) { *count = 0; return 0; }")
    with pytest.raises(
        InputError, match=r"does not take the plugins of '.*plugin\.so'.*none of them registered already"
    ):
        load_plugins(library("tensorrt_rtx"), (str(path),))


def test_a_missing_plugin_library_is_refused_each_time(rtx: Oracle, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=r"none\.so' does not load"):
            load_plugins(library("tensorrt_rtx"), (str(tmp_path / "none.so"),))


def _compiled(folder: Path, source: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / "plugin.c").write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "plugin.c", "-o", "plugin.so"], cwd=folder, check=True)
    return folder / "plugin.so"


def test_a_folder_named_tensorrt_is_no_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantlab.errors import MachineError

    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match="TensorRT cannot be loaded"):
        library("tensorrt")
