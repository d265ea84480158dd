"""What TensorRT tells of a built plan: its layers, and the memory that it needs."""

from typing import Any

from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.engines.tensorrt.runtime import Library


def layers_of(lib: Library, plan: bytes, options: BuildOptions) -> tuple[str, int | None]:
    """Return the engine inspector's JSON text and the bytes of scratch memory; empty and None if it cannot be loaded here."""
    trt = lib.module
    try:
        runtime = trt.Runtime(lib.log.logger)
    except TypeError:  # pybind11's word for a null pointer: TensorRT-RTX builds for GPUs that it does not run on
        return "", None
    if options.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return "", None
    return inspected(trt, engine), scratch_memory(engine)


def inspected(trt: Any, engine: Any, context: Any = None) -> str:
    """Return the engine inspector's JSON text; a context adds the shapes of its profile."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def scratch_memory(engine: Any) -> int:
    """Return the bytes that an execution context needs beside the plan's weights."""
    size = getattr(engine, "device_memory_size_v2", None)
    return int(engine.device_memory_size if size is None else size)
