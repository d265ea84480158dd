"""What runs a network: `ort(...)` in ONNX Runtime, `trt(...)` in TensorRT; runtimes load when an engine is opened."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from quantlab.engines.onnx_runtime import OrtEngine
    from quantlab.engines.tensorrt.build import Reports
    from quantlab.engines.tensorrt.build_options import BuildOptions, Int8Source
    from quantlab.engines.tensorrt.engine import TrtEngine
    from quantlab.engines.tensorrt.runtime import LibraryName

__all__ = ["ort", "simulation", "trt"]


def ort(
    model: Any,
    *,
    expose: "str | tuple[str, ...] | None" = None,
    target: str = "tensorrt",
    optimize: bool = True,
    threads: int | None = None,
    custom_ops: "Sequence[str | PathLike[str]]" = (),
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
    custom_ops
        Shared libraries with operators of your own, or Python files with `library()` that returns the path of one.

    Raises
    ------
    InputError
        For a model that cannot be read or run, operators that cannot be loaded, or a pattern that matches nothing.
    """
    from quantlab.engines.custom_ops import libraries
    from quantlab.engines.opening import open_ort
    from quantlab.engines.ort_session import OrtOptions

    return open_ort(model, expose=expose, target=target, options=OrtOptions(optimize, threads, libraries(custom_ops)))


def simulation(
    model: Any, *, threads: int | None = None, custom_ops: "Sequence[str | PathLike[str]]" = ()
) -> "OrtEngine":
    """Open a Q/DQ model with the arithmetic of TensorRT's INT8 kernels, on the CPU.

    Parameters
    ----------
    model
        Path, ModelProto or Model with Q/DQ as TensorRT takes it; see `quantlab.graph.simulate.simulation_of` for what is
        exact and what differs.
    threads, custom_ops
        As for `ort`.

    Raises
    ------
    InputError
        For a model that cannot be read or run, or operators that cannot be loaded.
    """
    from quantlab.engines.custom_ops import libraries
    from quantlab.engines.opening import open_simulation

    return open_simulation(model, threads=threads, libraries=libraries(custom_ops))


def trt(
    source: Any,
    *,
    expose: "str | tuple[str, ...] | None" = None,
    options: "BuildOptions | None" = None,
    int8: "Int8Source | None" = None,
    on_device: bool = False,
    library: "LibraryName | None" = None,
    reports: "Reports | None" = None,
) -> "TrtEngine":
    """Open a TensorRT plan, or build one of a model and open it; needs a GPU.

    Parameters
    ----------
    source
        A plan, the path of one (.plan, .engine or .trt with its card beside it), or a model as `ort` takes it.
    expose
        As for `ort`: these tensors become the outputs, at the cost of the fusions that they break.
    options
        How to build; of an open plan only device and plugins matter.
    int8
        Where the INT8 scales of a float model come from.
    on_device
        `run` returns arrays that stay on the GPU, which `collect` counts there.
    library
        tensorrt or tensorrt_rtx; None takes the first that is installed. TensorRT-RTX's runtime refuses GPUs of compute
        capability 9.0 (H100, H200): it runs on 8.0, 8.6, 8.9 and from 12.0 on.
    reports
        Who is told of the build's progress and log.

    Raises
    ------
    MachineError
        When there is no TensorRT, no GPU or no cuda-python.
    StaleError
        When the plan is for another TensorRT version or GPU.
    InputError
        For a model or a plan that TensorRT cannot read.
    """
    from quantlab.engines.tensorrt.opening import open_trt

    return open_trt(
        source, expose=expose, options=options, int8=int8, on_device=on_device, library=library, reports=reports
    )
