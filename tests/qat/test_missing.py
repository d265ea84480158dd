from __future__ import annotations

import subprocess
import sys

import pytest

_BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Blocked())
"""


def _without(packages: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that cannot import some packages."""
    script = _BLOCKED.format(packages=packages) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("use", ["ql.export(None, None)", "ql.qat.prepare", "ql.qat.train", "ql.qat.export"])
def test_without_torch_training_says_in_one_sentence_what_to_install(use: str) -> None:
    code = (
        f"import quantlab as ql\ntry:\n    {use}\nexcept ql.QuantlabError as error:\n    print(error, error.exit_code)"
    )
    done = _without(("torch",), code)
    assert done.stderr == ""
    assert done.stdout == (
        "quantlab's training and export need PyTorch, which is not installed: pip install 'quantlab[qat]'. 6\n"
    )


def test_without_torch_everything_else_works() -> None:
    code = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper
import quantlab as ql
from quantlab.graph.target import Target
rng = np.random.default_rng(0)
weights = [numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), name) for name in "wv"]
nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "first"), helper.make_node("MatMul", ["y", "v"], ["z"], "last")]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xz"]
graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
batches = [{"x": rng.normal(size=(8, 4)).astype(np.float32)}]
with ql.engines.ort(model, expose="quantizable") as engine:
    histograms = ql.collect(engine, batches)
table = ql.calibrate(histograms, ql.MinMax())
built = ql.quantize(model, table)
assert not ql.lint_qdq(built.model, Target.parse('tensorrt@8.6'))
print(len(built.quantized), sorted(set(dir(ql)) & {"export", "qat"}), ql.ExportOptions().opset)
"""
    done = _without(("torch",), code)
    assert done.stderr == ""
    assert done.stdout == "1 ['export', 'qat'] 17\n"


def test_torch_is_loaded_by_no_name_of_the_package_before_it_is_used() -> None:
    code = "import sys, quantlab as ql; ql.export; ql.ExportOptions(); dir(ql.qat); print('torch' in sys.modules)"
    assert _without((), code).stdout == "False\n"


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    done = _without(("torch",), "import quantlab as ql; print(hasattr(ql.qat, 'no_such_name'))")
    assert done.stdout == "False\n"


def test_a_public_function_goes_before_the_file_of_its_name() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")
    code = """
import quantlab.qat.prepare, quantlab.qat.train, quantlab.qat.export
from quantlab.qat.prepare import Prepared
import quantlab as ql
print([callable(getattr(ql.qat, name)) for name in ("prepare", "train", "export")], Prepared.__name__)
print(all(getattr(ql.qat, name) is not None for name in dir(ql.qat)))
"""
    done = _without((), code)
    assert done.stdout == "[True, True, True] Prepared\nTrue\n", done.stderr
