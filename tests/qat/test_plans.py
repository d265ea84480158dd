"""Plans whose weights are others than the module's: what prepare makes of it computes what the plan's model does."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.smooth import SmoothOptions, smooth, wanted
from quantlab.numerics.arrays import F32
from quantlab.tuning.target import Target
from quantlab.tuning.tune import TuneOptions, tune
from quantlab.tuning.tuned import Tuned
from tests.benchmarks.tuning.channel_spread import with_channel_spread
from tests.tuning.nets import Rows

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.export import evaluate_equality, export  # noqa: E402
from quantlab.qat.normed import NormedLayer  # noqa: E402
from quantlab.qat.onnx_export import ExportOptions  # noqa: E402
from quantlab.qat.prepare import Prepared, PrepareOptions, prepare  # noqa: E402
from tests.benchmarks.tuning.digits_net import Block, DigitsNet  # noqa: E402
from tests.qat.core_networks import (  # noqa: E402
    FIVE,
    Attention,
    Branching,
    Depthwise,
    Encoder,
    calibrated,
    made,
    trained_a_little,
)

DIGITS = Path(__file__).parents[1] / "benchmarks" / "tuning" / "digits_net.onnx"
IMAGES = np.random.default_rng(0).normal(size=(48, 1, 28, 28)).astype(np.float32)
CLOSE = 1e-5
"""Of the largest magnitude: float sums in another order."""


@dataclass
class Plan:
    model: Model
    table: ScaleTable
    options: QuantizeOptions


def plan_of(model: Model, name: str, samples: F32, target: str = "tensorrt@8.6") -> Plan:
    engine = ql.engines.ort(model, expose="all")
    table = ql.calibrate(ql.collect(engine, [{name: samples}]), method=ql.MinMax())
    return Plan(model, table, QuantizeOptions(target=target))


def difference(prepared: Prepared, model: Model, samples: Any) -> float:
    """Return the largest difference of the module without rounding from a float ONNX model, of the largest magnitude."""
    engine = ql.engines.ort(model)
    expected = engine.run({next(iter(engine.inputs)): np.asarray(samples)})[next(iter(engine.outputs))]
    prepared.module.eval()
    with prepared.floating() as plain, torch.no_grad():
        found = plain(torch.as_tensor(samples)).numpy()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@cache
def tuned() -> Tuned:
    proto = with_channel_spread(onnx.load(DIGITS), 30)
    rungs = ("thresholds", "equalization", "bias correction")
    options = TuneOptions(rungs=rungs, walk_samples=16, ranking=16, threads=1)
    return tune(proto, Rows({"image": IMAGES}, 16), target=Target(None, min_sqnr_db=99.0), options=options)


@pytest.mark.parametrize(("folded", "norms"), [(True, "fold"), (False, "fold"), (False, "train")])
def test_a_fresh_module_becomes_the_trained_network(folded: bool, norms: Literal["fold", "train"]) -> None:
    torch.manual_seed(1)
    module = DigitsNet().eval()
    for block in module.blocks if folded else ():
        assert isinstance(block, Block)
        block.fold()  # biases of zeros, which exporters make one of
    trained = load_model(DIGITS)
    plan = plan_of(trained, "image", IMAGES)
    prepared = prepare(module, torch.tensor(IMAGES[:2]), plan, options=PrepareOptions(batch_norm=norms))
    assert not prepared.not_copied
    assert not prepared.unmatched
    assert difference(prepared, trained, IMAGES) <= CLOSE


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("network", [*FIVE.values(), Branching, Encoder])
def test_networks_of_all_kinds_take_the_weights_of_a_plan(network: Any) -> None:
    other, samples = made(network, seed=1)
    model, table = calibrated(other, samples)
    torch.manual_seed(2)
    module = network().eval()  # never trained: its norms are alike, and most of its biases
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    prepared = prepare(module, samples[:2], Plan(model, table, QuantizeOptions()))
    assert not prepared.not_copied
    assert not prepared.unmatched
    assert difference(prepared, model, samples) <= CLOSE
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest


def test_the_newer_exporter_leaves_out_zeros_and_they_are_copied_all_the_same() -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    other, samples = made(Attention, seed=1)
    model, table = calibrated(other, samples, ExportOptions(exporter="dynamo"))
    module, _ = made(Attention)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    options = PrepareOptions(exporter="dynamo")
    prepared = prepare(module, samples[:2], Plan(model, table, QuantizeOptions()), options=options)
    assert not prepared.not_copied
    assert difference(prepared, model, samples) <= CLOSE


@pytest.mark.parametrize("norms", ["fold", "train"])
def test_what_tune_found_is_the_start(norms: Literal["fold", "train"]) -> None:
    found = tuned()
    assert {trial.rung for trial in found.trials if trial.kept} >= {"equalization", "bias correction"}
    module = DigitsNet().eval()
    prepared = prepare(module, torch.tensor(IMAGES[:2]), found, options=PrepareOptions(batch_norm=norms))
    assert not prepared.not_copied
    assert prepared.options.target == found.candidate.options.target
    assert difference(prepared, found.candidate.model, IMAGES) <= CLOSE
    exported, built = export(prepared).quantized.model, found.candidate.quantized().model
    one, other = (ql.engines.ort(m, optimize=False).run({"image": IMAGES})["logits"] for m in (exported, built))
    if norms == "fold":
        assert np.array_equal(one, other)
    else:  # γ/σ · W is rounded once more
        assert (one.argmax(1) == other.argmax(1)).all()


def smoothed(where: Literal["anywhere", "folded"]) -> tuple[nn.Module, Tensor, Plan]:
    module, samples = made(Attention)
    model = normalise(calibrated(module, samples)[0]).model
    values = dict(ql.engines.ort(model, expose="all").run({"words": samples.numpy()})) | {"words": samples.numpy()}
    peaks = {name: np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(0) for name in wanted(model)}
    done = smooth(model, peaks, options=SmoothOptions(where=where)).model
    return module, samples, plan_of(done, "words", samples.numpy())


def test_a_plan_with_operators_that_smoothing_inserted_is_refused() -> None:
    module, samples, plan = smoothed("anywhere")
    with pytest.raises(InputError, match=r"has 3 Mul that Attention does not have: .* without the rung «smoothing»"):
        prepare(module, samples[:2], plan)


def test_a_parameter_for_which_the_plan_has_two_values_is_told() -> None:
    module, samples, plan = smoothed("folded")  # `norm` is used twice, and each use is smoothed for its own reader
    prepared = prepare(module, samples[:2], plan)
    reasons = list(prepared.not_copied.values())
    assert reasons == ["the plan has other values there than in «norm.weight», and the module one parameter for both"]
    assert difference(prepared, plan.model, samples) > CLOSE


class Twins(nn.Module):
    """Two layers that begin with the same weight, and one whose weight is its own transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 3)
        self.b.load_state_dict(self.a.state_dict())
        nn.init.eye_(self.c.weight)

    def forward(self, words: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(words))))
        found: Tensor = self.d(torch.relu(self.c(x)))
        return found


@pytest.mark.parametrize("size", [(), (5,)])
def test_equal_weights_are_quantized_and_copied_each_for_itself(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, samples = Twins().eval(), torch.randn(32, *size, 6)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert not prepared.unmatched
    trained_a_little(prepared.module, samples)
    exported = export(prepared)
    assert evaluate_equality(prepared, exported, [samples]).agreement == 1.0
    again = prepare(module, samples[:2], Plan(exported.float_model, exported.table, QuantizeOptions()))
    assert not again.not_copied
    assert difference(again, exported.float_model, samples) <= CLOSE


def test_a_norm_whose_gamma_is_zero_takes_the_weights_of_a_plan() -> None:
    other, samples = made(Depthwise, seed=1)
    model, table = calibrated(other, samples)
    module, _ = made(Depthwise)
    nn.init.zeros_(module.features[4].weight)  # type: ignore[index,union-attr]
    options = PrepareOptions(batch_norm="train")
    prepared = prepare(module, samples[:2], Plan(model, table, QuantizeOptions()), options=options)
    assert not prepared.not_copied
    assert difference(prepared, model, samples) <= CLOSE


def test_a_norm_without_beta_takes_the_bias_of_a_plan() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(8, affine=False)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), norm, nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten())
        layers.train()(torch.randn(8, 3, 6, 6) + 1)
        return layers.eval()

    samples = torch.randn(32, 3, 6, 6)
    model, table = calibrated(network(1), samples)
    plan = Plan(model, table, QuantizeOptions())
    prepared = prepare(network(0), samples[:2], plan, options=PrepareOptions(batch_norm="train"))
    assert any(isinstance(part, NormedLayer) for part in prepared.module.modules())
    assert difference(prepared, model, samples) <= CLOSE
    assert evaluate_equality(prepared, export(prepared), [samples]).agreement == 1.0


class Reshaping(nn.Module):
    """As `Branching`, and it asks for sizes, which an exporter traces as tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        x = torch.relu(self.a(words))
        if words.detach().abs().max().item() < 1e6:
            x = x.reshape(words.shape[0], words.shape[1] * 2, 4)
        found: Tensor = self.b(x).mean(1)
        return found


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_sizes_that_an_exporter_traces_change_no_path() -> None:
    torch.manual_seed(0)
    module, samples = Reshaping().eval(), torch.randn(32, 5, 6)
    model, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert prepared.traced_by == "calls"
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest


class Scaled(nn.Module):
    """Begins with a factor of 1 and a shift of 0, which an exporter leaves out of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.factor, self.shift = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, words: Tensor) -> Tensor:
        found: Tensor = self.b(torch.relu(self.a(words)) * self.factor + self.shift)
        return found


def test_what_the_newer_exporter_leaves_out_of_a_model_is_no_other_network() -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    torch.manual_seed(0)
    module, samples = Scaled().eval(), torch.randn(32, 6)
    model, table = calibrated(module, samples, ExportOptions(exporter="dynamo"))
    assert {node.op_type for node in model.proto.graph.node} == {"Gemm", "Relu"}
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(exporter="dynamo"))
    assert not prepared.unmatched
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest
