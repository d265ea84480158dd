from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from quantlab.errors import InputError, MachineError
from quantlab.graph.model import load_model, write_model
from tests.graph.small_models import small_model, wide_model


def run(source: Path | onnx.ModelProto, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[object]:
    given = str(source) if isinstance(source, Path) else source.SerializeToString()
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    outputs: list[object] = session.run(None, {"x": x})
    return outputs


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    path = write_model(load_model(wide_model()), tmp_path / "out" / "m.onnx")
    assert load_model(path) == load_model(wide_model())
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]


def test_external_weights_are_written_beside_the_model_and_run(tmp_path: Path) -> None:
    path = write_model(wide_model(), tmp_path / "m.onnx", external=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert path.stat().st_size < 1000
    assert load_model(path) == load_model(wide_model())
    onnx.checker.check_model(str(path))
    x = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(path, x), run(wide_model(), x))


def test_a_model_above_the_limit_gets_its_weights_outside(tmp_path: Path) -> None:
    write_model(wide_model(), tmp_path / "m.onnx", limit=4000)
    assert (tmp_path / "m.onnx.data").exists()
    write_model(wide_model(), tmp_path / "n.onnx", limit=20000)
    assert not (tmp_path / "n.onnx.data").exists()


def test_constants_in_nodes_above_the_limit_are_refused(tmp_path: Path) -> None:
    proto = small_model()
    value = numpy_helper.from_array(np.zeros((100, 100), np.float32))
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=value))
    with pytest.raises(InputError, match="normalise the model first"):
        write_model(proto, tmp_path / "m.onnx", limit=4000)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_model_and_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(wide_model(), tmp_path / "m.onnx", external=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(_: Path, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    proto = wide_model()
    proto.graph.initializer[0].raw_data = bytes(4096)
    with pytest.raises(MachineError, match="no space"):
        write_model(proto, path, external=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
