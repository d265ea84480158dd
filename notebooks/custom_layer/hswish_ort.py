"""`quantlab::HSwish` for ONNX Runtime on the CPU: `quantlab collect … --custom-ops hswish_ort.py` runs this file.

Needs onnxruntime-extensions. Every value passes through a Python list, about 60 ns of it: for large networks, write the
operator in C++ against ONNX Runtime's `onnxruntime_lite_custom_op.h`, and give that library to `--custom-ops`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnxruntime_extensions import PyCustomOpDef, get_library_path, onnx_op

_THREE, _SIX = np.float32(3), np.float32(6)


@onnx_op(op_type="quantlab::HSwish", inputs=[PyCustomOpDef.dt_float], outputs=[PyCustomOpDef.dt_float])
def hswish(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `x · relu6(x + 3) / 6`, rounded after each step in this order, as the kernels of the plugin do."""
    return x * np.clip(x + _THREE, np.float32(0), _SIX) / _SIX


def library() -> str:
    """Return the library that hands Python's operators to ONNX Runtime."""
    return str(get_library_path())
