"""Operators of the user's own in ONNX Runtime: a library, a Python file, and what is refused."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.errors import InputError
from tests.cli.workplace import DECLARED, done, furnish, refused
from tests.networks import small_cnn

FILE = """
import numpy as np
from onnxruntime_extensions import PyCustomOpDef, get_library_path, onnx_op

@onnx_op(op_type="own::{name}", inputs=[PyCustomOpDef.dt_float], outputs=[PyCustomOpDef.dt_float])
def double(x):
    return x * np.float32(2)

def library():
    return get_library_path()
"""


def model(operator: str, domain: str = "own") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "{domain}" : 1]>'
        f"own (float[batch,3] x) => (float[batch,3] y) {{ y = {domain}.{operator} (x) }}"
    )


def library() -> str:
    return str(import_module("onnxruntime_extensions").get_library_path())


def operators(folder: Path, name: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(FILE.format(name=name), encoding="utf-8")
    return path


def test_a_python_file_brings_its_operators_to_every_engine(tmp_path: Path) -> None:
    ops, x = operators(tmp_path, "Double"), np.array([[1, -2, 3]], np.float32)
    for _ in range(2):
        with engines.ort(model("Double"), custom_ops=(ops,)) as engine:
            assert np.array_equal(engine.run({"x": x})["y"], 2 * x)


def test_a_library_of_compiled_operators_is_registered_as_it_is() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.contrib" : 1]>'
    text += "own (float[3] x) => (float[3] n, float[3] p) { n, p = ai.onnx.contrib.NegPos (x) }"
    with engines.ort(onnx.parser.parse_model(text), custom_ops=(library(),)) as engine:
        found = engine.run({"x": np.array([1, -2, 3], np.float32)})
        assert found["n"].tolist() == [0, -2, 0]
        assert found["p"].tolist() == [1, 0, 3]


def test_an_unknown_operator_names_the_option() -> None:
    with pytest.raises(InputError, match=r"own:Halve.* If «own:Halve» is an operator of yours, .*--custom-ops ops.so"):
        engines.ort(model("Halve"))


def test_another_fault_of_a_model_is_not_blamed_on_operators() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> int (uint8[3] x) => (uint8[3] y) { y = Sqrt (x) }'
    with pytest.raises(InputError, match="ONNX Runtime cannot load the model") as raised:
        engines.ort(onnx.parser.parse_model(text))
    assert "--custom-ops" not in str(raised.value)


def test_a_missing_or_unfit_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file '.*nix\.so' with custom operators"):
        engines.ort(small_cnn(), custom_ops=(tmp_path / "nix.so",))
    text = tmp_path / "text.so"
    text.write_text("no library")
    with pytest.raises(InputError, match=r"cannot load the custom operators in '.*text\.so'"):
        engines.ort(small_cnn(), custom_ops=(text,))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = ", "cannot be read as Python"),
        ("import not_installed_anywhere", "could not be loaded: No module named 'not_installed_anywhere'"),
        ("x = y", "could not be loaded: name 'y' is not defined"),
        ("x = 1", r"has no library\(\)"),
        ("library = lambda: 'nix.so'", r"no file 'nix\.so'"),
    ],
)
def test_an_unfit_python_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "operators.py"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        engines.ort(small_cnn(), custom_ops=(path,))


def test_commands_take_operators_and_know_when_these_change(tmp_path: Path) -> None:
    folder = furnish(tmp_path)
    net = onnx.load(folder / "model.onnx")
    relu = next(node for node in net.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "Widen", "own"
    net.opset_import.append(onnx.helper.make_opsetid("own", 1))
    onnx.save(net, folder / "own.onnx")
    ops = operators(folder, "Widen")
    collect = ("collect", folder / "own.onnx", "-d", folder / "calibration.npz", *DECLARED, "-o", folder / "own.h5")
    assert "--custom-ops" in refused(4, *collect)
    assert "written" in done(*collect, "--custom-ops", ops).out
    assert "is current" in done(*collect, "--custom-ops", ops).out
    ops.write_text(ops.read_text() + "\n")
    assert "operators in Widen.py" in refused(5, *collect, "--custom-ops", ops)
