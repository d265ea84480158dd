"""Names of methods, for the command line and job files: `percentile:99.99,of=nonzero` becomes an object once, here."""

from collections.abc import Callable
from typing import Any

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.errors import UsageError

METHODS: dict[str, Callable[..., Any]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "squared-error": SquaredError,
    "entropy": Entropy,
    "tensorrt-entropy2": TensorRTEntropy2,
    "tensorrt-minmax": TensorRTMinMax,
    "tensorrt-legacy": TensorRTLegacy,
}
_FIRST = {"percentile": "p", "entropy": "dialect", "tensorrt-legacy": "quantile"}
_NUMBERS = {"p", "quantile", "cutoff"}


def parse_method(text: str) -> Any:
    """Return the method that «name», «name:value» or «name:value,key=value» stands for.

    Raises
    ------
    UsageError
        For an unknown name or parameter; the valid ones are listed.
    """
    name, _, parameters = text.strip().partition(":")
    if name not in METHODS:
        raise UsageError(f"Unknown method «{name}»; the known ones are {', '.join(METHODS)}.")
    arguments: dict[str, object] = {}
    for part in filter(None, parameters.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = _FIRST.get(name, ""), key
        if key.strip() in arguments:
            raise UsageError(f"Method «{text}» names {key.strip() or 'its parameter'} twice.")
        arguments[key.strip()] = _number(text, value) if key.strip() in _NUMBERS else value.strip()
    try:
        return METHODS[name](**arguments)
    except TypeError:
        fields = getattr(METHODS[name], "__slots__", ())
        raise UsageError(f"Method «{text}»: {name} takes {', '.join(fields) or 'no parameter'}.") from None


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"Method «{text}»: «{value}» is not a number.") from None
