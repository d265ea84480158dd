"""Images whose channels are where the network does not look for them."""

from collections.abc import Mapping

from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError
from quantlab.numerics.arrays import Tensors

_MOVES = {(0, 3, 1, 2): "NHWC", (0, 2, 3, 1): "NCHW"}
_OTHER = {"NHWC": "NCHW", "NCHW": "NHWC"}


def check_layout(inputs: Mapping[str, TensorSpec], batch: Tensors) -> None:
    """Refuse images that would fit the network with their channels moved, and do not as they are.

    Raises
    ------
    InputError
        Naming the input, both layouts and what to declare.
    """
    for name, spec in inputs.items():
        shape = batch[name].shape if name in batch else ()
        if len(shape) != 4 or len(spec.shape) != 4 or _fits(spec, shape):
            continue
        for order, given in _MOVES.items():
            if _fits(spec, tuple(shape[i] for i in order)):
                raise InputError(
                    f"Input «{name}» comes as {given} {list(shape)}, but the network takes {_OTHER[given]}, {spec}: declare "
                    f"the layout {_OTHER[given]} (--layout {_OTHER[given]}), or transpose the arrays."
                )


def _fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Tell whether a shape fits; the number of samples is the engine's own matter."""
    pairs = zip(spec.shape[1:], shape[1:], strict=True)
    return all(not isinstance(want, int) or want == got for want, got in pairs)
