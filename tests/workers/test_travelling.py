"""What travels to a worker process arrives there, or is refused with a sentence."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab.data.arrays import Arrays, arrays
from quantlab.engines import ort
from quantlab.errors import StaleError, UsageError
from quantlab.workers.declared import processes
from quantlab.workers.spread import Spread
from tests.graph.nets import net
from tests.workers.test_collecting import engine, written


@pytest.mark.slow
def test_operators_of_a_python_file_work_in_workers_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="needs onnxruntime-extensions")
    (tmp_path / "ops.py").write_text(
        "from onnxruntime_extensions import PyCustomOpDef, get_library_path, onnx_op\n"
        "@onnx_op(op_type='workers::Twice', inputs=[PyCustomOpDef.dt_float], outputs=[PyCustomOpDef.dt_float])\n"
        "def twice(x):\n    return x * 2\n"
        "def library():\n    return get_library_path()\n"
    )
    model = net("g (float[N,3,16,16] x) => (float[N,3,16,16] y) { t = workers.Twice(x) \n y = Relu(t) }")
    model.opset_import.append(onnx.helper.make_opsetid("workers", 1))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("t", 1, ["N", 3, 16, 16]))
    data = arrays(written(tmp_path / "calibration.npy", 70))
    with ort(model, expose="all", threads=1, custom_ops=[tmp_path / "ops.py"]) as open_engine:
        assert dict(ql.collect(open_engine, data, on=processes(1))) == dict(ql.collect(open_engine, data))


class Locked(Arrays):
    """Rows that hold what no process can be sent."""

    __slots__ = ()

    def part(self, start: int, stop: int) -> Any:
        return threading.Lock()


@pytest.mark.slow
def test_data_that_cannot_be_sent_to_workers_are_a_sentence(tmp_path: Path) -> None:
    data = arrays(written(tmp_path / "calibration.npy", 20))
    data.__class__ = Locked
    with engine() as open_engine, pytest.raises(UsageError, match=r"cannot be sent to them.*top of a module"):
        ql.collect(open_engine, data, on=processes(1))


def test_no_part_of_other_samples_than_the_declared_ones_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "calibration.npy", 20)
    data, before = arrays(path), path.read_bytes()
    spread = Spread(parts=tmp_path / "parts", shard=8)
    assert len(data.sample_hashes) == 20
    rows = np.load(path)
    rows[12] += 1
    np.save(path, rows)
    with engine() as open_engine:
        with pytest.raises(StaleError, match="another sample 12 than was declared"):
            ql.collect(open_engine, data, on=spread)
        path.write_bytes(before)  # as on a worker whose folder has been mended
        assert ql.collect(open_engine, data, on=spread).provenance == ql.collect(open_engine, data).provenance
