from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab.errors import InputError, MachineError, UsageError
from quantlab.graph.model import Model, load_model

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402

from quantlab.qat.export_check import export_difference  # noqa: E402

EXPORTERS = ("torchscript", "dynamo")
both = pytest.mark.parametrize("exporter", EXPORTERS)
Name = Literal["torchscript", "dynamo"]


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """Conv, BatchNorm and ReLU; a flatten that asks for the batch's size; one output or two, as a dict."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.pool, self.head, self.outputs = nn.AvgPool2d(2), nn.Linear(8 * 16, 10), outputs
        self.norm.load_state_dict(
            self.norm.state_dict() | {"running_mean": torch.rand(8), "running_var": 0.5 + torch.rand(8)}
        )

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        y = self.pool(torch.relu(self.norm(self.conv(image))))
        logits = self.head(y.view(y.size(0), -1))
        return logits if self.outputs == 1 else {"logits": logits, "features": y.mean((2, 3))}


def _image(batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, 8, 8)


def _run(model: Model, **feeds: Tensor) -> Mapping[str, np.ndarray]:
    with ql.engines.ort(model, threads=1) as engine:
        return {name: value.copy() for name, value in engine.run({k: v.numpy() for k, v in feeds.items()}).items()}


def _operators(model: Model) -> list[str]:
    return [node.op_type for node in model.proto.graph.node]


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_a_batch_of_arrays_is_as_good_an_example_as_tensors() -> None:
    net, image = Net().eval(), _image(2)
    model = ql.export(net, image)
    for example in (ql.data.Batch({"image": image.numpy()}), image.numpy(), (image.numpy(),)):
        assert ql.export(net, example).digest == model.digest


@both
def test_an_exported_module_gives_its_outputs_at_any_batch(exporter: Name) -> None:
    net = Net().eval()
    model = ql.export(net, _image(), options=ql.ExportOptions(exporter=exporter))
    assert model.opset == 17
    assert _shape(model.proto.graph.input[0]) == ["batch", 3, 8, 8]
    assert _shape(model.proto.graph.output[0]) == ["batch", 10]
    images = _image(5)
    with torch.no_grad():
        expected = net(images).numpy()
    np.testing.assert_allclose(_run(model, image=images)["output"], expected, atol=1e-5)
    assert _operators(model).count("Conv") == 1  # with the BatchNorm in it
    assert "BatchNormalization" not in _operators(model)


def test_every_part_is_in_its_mode_again() -> None:
    net = Net().train()
    net.norm.eval()
    before = [part.training for part in net.modules()]
    statistics = net.norm.state_dict()["running_mean"].clone()
    ql.export(net, _image(4))
    assert [part.training for part in net.modules()] == before
    assert torch.equal(net.norm.state_dict()["running_mean"], statistics)


def test_a_module_that_cannot_be_exported_is_in_its_mode_again() -> None:
    net = Unexportable().train()
    with pytest.raises(InputError):
        ql.export(net, _image())
    assert net.training
    assert not net._forward_hooks


@both
def test_two_outputs_are_named_by_the_keys_of_a_dict(exporter: Name) -> None:
    net = Net(outputs=2).eval()
    model = ql.export(net, _image(), options=ql.ExportOptions(exporter=exporter))
    assert [output.name for output in model.proto.graph.output] == ["logits", "features"]
    images = _image(3)
    with torch.no_grad():
        expected = net(images)
    for name, values in _run(model, image=images).items():
        np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-5)


def test_inputs_and_outputs_take_the_names_given() -> None:
    options = ql.ExportOptions(inputs=("pixels",), outputs=("a", "b"))
    graph = ql.export(Net(outputs=2), _image(), options=options).proto.graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["pixels", "a", "b"]


class Scores(nn.Module):
    """Two inputs, the second without a batch; a tuple of two outputs, the second without one."""

    def forward(self, query: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        return query @ table, table.sum(0)


@both
@pytest.mark.parametrize("by_name", [False, True])
def test_only_what_has_the_batch_is_free(exporter: Name, by_name: bool) -> None:
    given = (torch.randn(2, 3), torch.randn(3, 5))
    example = dict(zip(("query", "table"), given, strict=True)) if by_name else given
    model = ql.export(Scores(), example, options=ql.ExportOptions(exporter=exporter))
    graph = model.proto.graph
    assert [_shape(value) for value in graph.input] == [["batch", 3], [3, 5]]
    assert [value.name for value in graph.output] == ["output_0", "output_1"]
    assert [_shape(value) for value in graph.output] == [["batch", 5], [5]]


@both
def test_a_fixed_batch_is_kept(exporter: Name) -> None:
    options = ql.ExportOptions(exporter=exporter, dynamic_batch=False)
    graph = ql.export(Net(), _image(2), options=options).proto.graph
    assert _shape(graph.input[0]) == [2, 3, 8, 8]
    assert _shape(graph.output[0]) == [2, 10]


def test_opset_18_is_left_as_it_is_where_it_is_asked_for() -> None:
    model = ql.export(Net(outputs=2), _image(), options=ql.ExportOptions(exporter="dynamo", opset=18))
    mean = next(node for node in model.proto.graph.node if node.op_type == "ReduceMean")
    assert (model.opset, len(mean.input)) == (18, 2)


def test_reductions_of_opset_17_carry_their_axes_as_an_attribute() -> None:
    model = ql.export(Net(outputs=2), _image(), options=ql.ExportOptions(exporter="dynamo", opset=17))
    mean = next(node for node in model.proto.graph.node if node.op_type == "ReduceMean")
    assert (model.opset, len(mean.input)) == (17, 1)
    assert list(next(a for a in mean.attribute if a.name == "axes").ints) == [2, 3]
    read = {name for node in model.proto.graph.node for name in node.input}
    assert {tensor.name for tensor in model.proto.graph.initializer} <= read


def test_the_difference_is_kept_in_the_model_and_its_file(tmp_path: Path) -> None:
    model = ql.export(Net(), _image(), tmp_path / "net.onnx")
    found, kept = export_difference(model), export_difference(load_model(tmp_path / "net.onnx"))
    assert found == kept
    assert found is not None
    assert 0 <= found.largest < 1e-5 < found.magnitude
    assert model.path == tmp_path / "net.onnx"
    assert (
        export_difference(load_model(onnx.helper.make_model(model.proto.graph, opset_imports=model.proto.opset_import)))
        is None
    )


def test_weights_go_into_a_file_of_their_own_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = ql.export(Net(), _image(), path, options=ql.ExportOptions(external_data=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert load_model(path).digest == model.digest


def test_nothing_half_written_is_left_where_the_module_cannot_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(InputError):
        ql.export(Unexportable(), _image(), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


class Unexportable(nn.Module):
    """Its FFT has no counterpart in opset 17's operators."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(-1, -2))


@both
def test_a_module_that_torch_cannot_export_is_refused_with_its_reason_and_advice(exporter: Name) -> None:
    with pytest.raises(InputError) as caught:
        ql.export(Unexportable(), torch.randn(2, 3, 3), options=ql.ExportOptions(exporter=exporter))
    text = str(caught.value)
    assert text.startswith(f"torch's {exporter} exporter cannot export Unexportable (")
    assert "linalg_eig" in text
    assert "\n" not in text
    assert f"try exporter='{'torchscript' if exporter == 'dynamo' else 'dynamo'}'" in text


class BatchInside(nn.Module):
    """Reshapes with the batch as a Python number that the tracer takes for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(int(np.int64(x.shape[0])), 6)


def test_a_batch_taken_for_a_constant_is_found_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        with pytest.raises(InputError, match=r"for a batch of 4|could not run the model"):
            ql.export(BatchInside(), torch.randn(2, 6))


class Branch(nn.Module):
    """Takes another way for larger batches, which a trace of one batch cannot know."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] < 3 else x * 3


def test_a_branch_on_the_batch_is_found_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        with pytest.raises(InputError, match=r"gives another «output» than the module for a batch of 4.*constant"):
            ql.export(Branch(), torch.randn(2, 6))


def test_the_tracers_warnings_reach_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(torch.jit.TracerWarning, match="might cause the trace to be incorrect"):
            ql.export(Sorted(), torch.rand(2, 6))


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool((x >= 0).all()) else -x


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_a_module_with_chance_in_it_is_told_so() -> None:
    with pytest.raises(InputError, match="other values each time it runs: is a dropout on in eval mode"):
        ql.export(Noisy(), torch.ones(4, 64))


class OneSample(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 6)


def test_a_module_for_one_batch_alone_is_refused_unless_the_batch_is_fixed() -> None:
    with pytest.raises(InputError, match=r"cannot run a batch of 2 where it runs one of 1 .*dynamic_batch=False"):
        ql.export(OneSample(), torch.randn(1, 6))
    assert ql.export(OneSample(), torch.randn(1, 6), options=ql.ExportOptions(dynamic_batch=False)).opset == 17


def test_what_cannot_be_meant_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"needs a torch.nn.Module, not str"):
        ql.export("net.pt", _image())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a tuple of tensors, or tensors by the names"):
        ql.export(Net(), "image.npy")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds no tensor"):
        ql.export(Net(), ())
    with pytest.raises(UsageError, match="has 1 inputs, and the names given"):
        ql.export(Net(), _image(), options=ql.ExportOptions(inputs=("a", "b")))
    with pytest.raises(UsageError, match="has 1 outputs, and the names given"):
        ql.export(Net(), _image(), options=ql.ExportOptions(outputs=("image",)))
    with pytest.raises(UsageError, match="«jit» is no exporter"):
        ql.ExportOptions(exporter="jit")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"The module Net fails on the example itself \(.*: give an example"):
        ql.export(Net(), torch.randn(1, 4, 8, 8))
    with pytest.raises(InputError, match="not to 16"):
        ql.export(Net(), _image(), options=ql.ExportOptions(exporter="dynamo", opset=16))


def test_half_precision_is_exported_and_compared_in_its_own_precision() -> None:
    model = ql.export(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)).half(), torch.randn(2, 64).half())
    found = export_difference(model)
    assert model.proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert found is not None
    assert found.largest < 0.02 * found.magnitude


@both
def test_simplifying_reduces_a_flatten_to_one_reshape(exporter: Name) -> None:
    pytest.importorskip("onnxslim", reason="needs onnxslim: pip install 'quantlab[slim]'")
    plain = ql.export(Net(), _image(), options=ql.ExportOptions(exporter="torchscript"))
    slim = ql.export(Net(), _image(), options=ql.ExportOptions(exporter=exporter, simplify=True))
    assert {"Shape", "Gather", "Concat"} <= set(_operators(plain))
    assert sorted(_operators(slim)) == ["AveragePool", "Conv", "Gemm", "Relu", "Reshape"]
    assert _shape(slim.proto.graph.input[0]) == ["batch", 3, 8, 8]
    assert _run(slim, image=_image(3))["output"].shape == (3, 10)


def test_simplifying_without_onnxslim_says_what_to_install() -> None:
    if find_spec("onnxslim") is not None:
        assert ql.export(Net(), _image(), options=ql.ExportOptions(simplify=True)).opset == 17
        return
    with pytest.raises(MachineError, match=r"pip install 'quantlab\[slim\]'"):
        ql.export(Net(), _image(), options=ql.ExportOptions(simplify=True))
