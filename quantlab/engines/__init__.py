"""What runs a network: `ort(...)` opens one in ONNX Runtime; runtimes load when an engine is opened."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlab.engines.onnx_runtime import OrtEngine

__all__ = ["ort"]


def ort(
    model: Any,
    *,
    expose: "str | tuple[str, ...] | None" = None,
    target: str = "tensorrt",
    optimize: bool = True,
    threads: int | None = None,
) -> "OrtEngine":
    """Open an ONNX model in ONNX Runtime on the CPU.

    Parameters
    ----------
    model
        Path, ModelProto or Model.
    expose
        «quantizable» (what `target` will quantize), «all» (every float activation) or name patterns: these tensors become
        the outputs. The graph is normalised first (BatchNorm folded, constants computed); names stay the model's own.
        None runs the model as it is.
    target
        For «quantizable»: tensorrt, tensorrt@8.6 …, or ort.
    optimize
        Let ONNX Runtime fuse. Off for a Q/DQ model simulates TensorRT; on measures ONNX Runtime's integer kernels.
    threads
        Threads inside an operator; None is one a core.

    Raises
    ------
    InputError
        For a model that cannot be read or run, or a pattern that matches nothing.
    """
    from quantlab.engines.opening import open_ort

    return open_ort(model, expose=expose, target=target, optimize=optimize, threads=threads)
