"""Who is to blame: real engines, each with a fault of one kind, and the step that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from quantlab import engines
from quantlab.builder import QuantizedModel, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import CompareOptions
from quantlab.comparison.tensors import TensorError, TensorProbe
from quantlab.comparison.three_way import Road, ThreeWay, Thresholds, first_jump, three_way
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums
from tests.comparison.networks import Network, samples
from tests.graph.nets import residual_net


def images(seed: int, count: int = 16) -> AnyArray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def table() -> ScaleTable:
    with engines.ort(residual_net(), expose="quantizable") as engine:
        return calibrate(collect(engine, [{"x": images(0)}]), MinMax())


@pytest.fixture(scope="module")
def built(table: ScaleTable) -> QuantizedModel:
    return quantize(residual_net(), table)


class Garage:
    """Opens engines and closes them all."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def open(self, model: object, *, shown: tuple[str, ...] | None = None, optimize: bool = False) -> Engine:
        return self._stack.enter_context(engines.ort(model, expose=shown, optimize=optimize, threads=1))


@pytest.fixture
def garage() -> Iterator[Garage]:
    with ExitStack() as stack:
        yield Garage(stack)


def checked(garage: Garage, fp32: object, simulation: object, int8: object, **probes: TensorProbe) -> ThreeWay:
    """Return the check; the INT8 engine is ONNX Runtime with its own kernels in the place of a device."""
    road = Road(
        reference=garage.open(residual_net(), optimize=True),
        fp32=garage.open(fp32),
        simulation=garage.open(simulation),
        int8=garage.open(int8),
        probes=probes,
    )
    return three_way(road, [{"x": images(1)}], metrics=())


def perturbed(model: onnx.ModelProto, name: str | None = None, size: float = 0.2) -> onnx.ModelProto:
    """Return the network with noise on one stored tensor, the first large one by default."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    wanted = [t for t in changed.graph.initializer if (t.name == name if name else len(t.dims) == 4)]
    values = numpy_helper.to_array(wanted[0])
    noise = np.random.default_rng(3).normal(size=values.shape) * size * np.abs(values).max()
    wanted[0].CopyFrom(numpy_helper.from_array((values + noise).astype(values.dtype), wanted[0].name))
    return changed


def with_wrong_scale(table: ScaleTable) -> ScaleTable:
    """Return the table with an activation clipped to a thirty-second of its range."""
    from dataclasses import replace

    row = next(row for row in table.rows if row.tensor != "x" and row.role != "weight")
    return table.with_rows([replace(row, scale=tuple(s / 32 for s in row.scale))])


def test_nobody_is_to_blame_for_a_road_without_a_fault(garage: Garage, built: QuantizedModel) -> None:
    found = checked(garage, residual_net(), built.model, built.model)
    assert (found.verdict, found.guilty) == ("none", ())
    assert "No step is to blame" in found.sentence
    assert found.whole.final


def test_other_weights_in_the_float_engine_blame_the_build(garage: Garage, built: QuantizedModel) -> None:
    found = checked(garage, perturbed(residual_net()), built.model, built.model)
    assert (found.verdict, found.guilty) == ("build", ("build",))
    assert "FP32 engine is to blame" in found.sentence


def test_a_wrong_scale_blames_the_scales(garage: Garage, table: ScaleTable) -> None:
    wrong = quantize(residual_net(), with_wrong_scale(table)).model
    found = checked(garage, residual_net(), wrong, wrong)
    assert (found.verdict, found.guilty) == ("scales", ("scales",))
    assert "Calibrate by another method" in found.sentence


def test_an_engine_with_other_weights_is_to_blame(garage: Garage, built: QuantizedModel) -> None:
    int8 = next(t.name for t in built.model.proto.graph.initializer if len(t.dims) == 4)
    found = checked(garage, residual_net(), built.model, perturbed(built.model.proto, int8))
    assert (found.verdict, found.guilty) == ("engine", ("engine",))
    assert "INT8 engine is to blame" in found.sentence


def test_the_first_fault_on_the_road_is_named_and_the_others_told(garage: Garage, table: ScaleTable) -> None:
    wrong = quantize(residual_net(), with_wrong_scale(table)).model
    found = checked(garage, perturbed(residual_net()), wrong, wrong)
    assert (found.verdict, found.guilty) == ("build", ("build", "scales"))
    assert "Beyond its threshold, too: scales." in found.sentence


def test_the_error_jumps_where_the_fault_is(garage: Garage, table: ScaleTable, built: QuantizedModel) -> None:
    wrong_table = with_wrong_scale(table)
    (clipped,) = [row.tensor for row in wrong_table.rows if row.scale != table[row.tensor].scale]
    wrong = quantize(residual_net(), wrong_table).model
    shown = built.quantized
    probe = TensorProbe(garage.open(residual_net(), shown=shown), garage.open(wrong, shown=shown), tensors=shown)
    found = checked(garage, residual_net(), wrong, wrong, scales=probe)
    jump = found.jump("scales")
    assert jump is not None
    # A tensor is compared before its own Q/DQ, so the jump is at the one after the clipped tensor.
    assert shown.index(jump.tensor) == shown.index(clipped) + 1
    assert f"jumps at tensor «{jump.tensor}»" in found.sentence
    assert found.jump("build") is None


def test_json_gives_the_check_back(garage: Garage, built: QuantizedModel) -> None:
    found = checked(garage, residual_net(), built.model, built.model)
    document = found.to_json()
    assert document["verdict"] == "none"
    assert ThreeWay.from_json(document) == found
    with pytest.raises(InputError, match="no field «x»"):
        ThreeWay.from_json(document | {"x": 1})
    assert found.sentence in found._repr_html_()


def test_thresholds_decide() -> None:
    road = Road(reference=Network(), fp32=Network(1 / 64), simulation=Network(0.5), int8=Network(0.5))
    data = samples()
    strict = three_way(road, data, thresholds=Thresholds(build_db=100, scales_db=0))
    assert strict.verdict == "build"
    loose = three_way(road, data, thresholds=Thresholds(build_db=10, scales_db=0))
    assert loose.verdict == "none"
    assert three_way(road, data, thresholds=Thresholds(build_db=10, scales_db=90)).verdict == "scales"


def test_an_output_of_nan_is_to_blame() -> None:
    class Broken(Network):
        def run(self, batch):  # type: ignore[no-untyped-def]
            return {name: values * np.nan for name, values in super().run(batch).items()}

    road = Road(reference=Network(), fp32=Broken(), simulation=Network(), int8=Network())
    assert three_way(road, samples()).guilty == ("build",)


def test_a_jump_is_a_fall_below_all_before() -> None:
    limits = Thresholds(ceiling_db=40, jump_db=8)

    def series(*sqnr: float) -> list[TensorError]:
        return [TensorError(f"t{i}", ErrorSums(1, 1, 1, 10 ** (-db / 10), 0, 1)) for i, db in enumerate(sqnr)]

    def place(*sqnr: float) -> str | None:
        found = first_jump(series(*sqnr), limits)
        return found.tensor if found else None

    assert place(120, 38, 35, 30, 26) is None
    assert place(120, 38, 35, 20, 26) == "t3"
    assert place(31, 30) == "t0"
    assert place() is None


def test_what_makes_no_check_is_refused(garage: Garage) -> None:
    probe = TensorProbe(Network(0.0, ("hidden",)), Network(0.5, ("hidden",)))
    four = {"reference": Network(), "fp32": Network(), "simulation": Network(), "int8": Network()}
    with pytest.raises(UsageError, match="not for «other»"):
        Road(**four, probes={"other": probe})
    with pytest.raises(UsageError, match="a probe a step"):
        three_way(Road(**four), samples(), options=CompareOptions(probe=probe))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not «none»"):
        three_way(Road(**four), samples()).jump("none")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="positive number of dB"):
        Thresholds(jump_db=0)
