from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.builder import QuantizedModel, QuantizeOptions, chosen_on, provenance_of, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import Affine
from quantlab.collector.collect import collect
from quantlab.errors import InputError, StaleError
from quantlab.graph.lint import lint_qdq
from quantlab.graph.target import Target
from quantlab.numerics.error_sums import ErrorSums
from tests.networks import image_batch, small_cnn


def table(target: str = "tensorrt", *, affine: bool = False) -> ScaleTable:
    with engines.ort(small_cnn(), expose="quantizable", target=target) as engine:
        return calibrate(collect(engine, [{"image": image_batch(16)}]), scheme=Affine("uint8") if affine else None)


def built(target: str, **options: object) -> QuantizedModel:
    settings = QuantizeOptions(target=target, **options)  # type: ignore[arg-type]
    return quantize(small_cnn(), table(target, affine=target == "ort"), options=settings)


@pytest.mark.parametrize("weights", ["qdq", "int8"])
@pytest.mark.parametrize("target", ["tensorrt@8.6", "tensorrt@10.3", "tensorrt@11.0", "ort"])
def test_the_model_is_valid_close_to_fp32_and_clean(target: str, weights: str) -> None:
    result = built(target, weights=weights)
    onnx.checker.check_model(result.model.proto, full_check=True)
    images = {"image": image_batch(8, 7)}
    with engines.ort(small_cnn()) as fp32, engines.ort(result.model, optimize=target == "ort") as int8:
        assert ErrorSums.of(fp32.run(images)["logits"], int8.run(images)["logits"]).sqnr_db > 25
    assert not [f for f in lint_qdq(result.model, Target.parse(target)) if f.severity != "note"]


def test_what_stays_float_has_a_reason() -> None:
    result = built("tensorrt")
    assert "n8" in result.floats
    assert all(result.floats.values())
    assert set(result.quantized) == {"image", "relu6"}


def test_a_table_of_another_model_is_stale() -> None:
    with pytest.raises(StaleError, match="the model has changed"):
        quantize(small_cnn(seed=5), table())


def test_missing_tensors_are_named_or_stay_float() -> None:
    short = table().without("relu6")
    with pytest.raises(InputError, match="relu6"):
        quantize(small_cnn(), short)
    loose = quantize(small_cnn(), short, options=QuantizeOptions(allow_missing=True))
    assert "relu6" in loose.floats


def test_the_model_tells_which_data_chose_its_scales() -> None:
    result = built("tensorrt")
    stored = provenance_of(result.model)
    assert stored == table().provenance
    assert [data.count for data in chosen_on(result.model)] == [16]
    assert chosen_on(quantize(small_cnn(), ScaleTable(table().rows)).model) == ()


def test_the_same_table_gives_the_same_bytes() -> None:
    one, two = (built("tensorrt").model.proto.SerializeToString(deterministic=True) for _ in range(2))
    assert one == two


def test_a_second_quantization_is_refused() -> None:
    with pytest.raises(InputError):
        quantize(built("tensorrt").model, ScaleTable(table().rows))


def test_weights_keep_a_row_each() -> None:
    rows = {row.tensor: row for row in built("tensorrt").weights}
    assert set(rows) == {"w1", "w2"}
    assert len(rows["w1"].scale) == 8
    assert np.isclose(
        max(rows["w1"].scale), np.abs(onnx.numpy_helper.to_array(small_cnn().graph.initializer[0])).max() / 127
    )
