"""Names of methods: each becomes an object once, and a wrong one lists the right ones."""

from typing import Any

import pytest

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.names import METHODS, parse_method
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.errors import UsageError


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("minmax", MinMax()),
        ("squared-error", SquaredError()),
        ("percentile", Percentile(99.99, "all")),
        ("percentile:99.9", Percentile(99.9)),
        ("percentile:99.9,of=nonzero", Percentile(99.9, "nonzero")),
        ("percentile:p=50,of=all", Percentile(50)),
        (" percentile: 99.9 , of = nonzero ", Percentile(99.9, "nonzero")),
        ("percentile:of=nonzero", Percentile(of="nonzero")),
        ("entropy", Entropy("quantlab")),
        ("entropy:mxnet", Entropy("mxnet")),
        ("entropy:dialect=pytorch-quantization", Entropy("pytorch-quantization")),
        ("tensorrt-entropy2", TensorRTEntropy2()),
        ("tensorrt-minmax", TensorRTMinMax()),
        ("tensorrt-legacy:0.999,cutoff=1", TensorRTLegacy(0.999, 1.0)),
    ],
)
def test_a_name_becomes_the_method(text: str, method: Any) -> None:
    assert parse_method(text) == method


def test_every_method_has_a_name_of_its_own() -> None:
    assert len({parse_method(name) for name in METHODS}) == len(METHODS)


@pytest.mark.parametrize("text", ["", "max", "Percentile", "min-max", "99.99", ":99"])
def test_an_unknown_name_lists_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_method(text)
    assert all(name in str(caught.value) for name in METHODS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("minmax:3", "minmax takes no parameter"),
        ("percentile:q=3", "percentile takes p, of"),
        ("percentile:many", "«many» is not a number"),
        ("percentile:0", r"in \(0, 100\], not at 0.0"),
        ("percentile:101", "not at 101.0"),
        ("percentile:nan", "not at nan"),
        ("percentile:99,of=zeros", "«all» or «nonzero» values, not of «zeros»"),
        ("percentile:99,99.9", "twice"),
        ("percentile:99,p=99.9", "twice"),
        ("entropy:kl", "«kl»; Entropy knows quantlab, gtc2017, pytorch-quantization, mxnet"),
        ("entropy:tensorrt", "use TensorRTEntropy2"),
        ("tensorrt-legacy:2", r"in \(0, 1\], not at 2.0"),
        ("tensorrt-legacy:0.9999,cutoff=0.5", "not 0.5"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_method(text)
    assert "\n" not in str(caught.value)
