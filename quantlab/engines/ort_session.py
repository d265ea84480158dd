"""Opens a session of ONNX Runtime on the CPU, whatever the size of the model."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from quantlab.engines.custom_ops import advice, register
from quantlab.errors import InputError, MachineError, QuantlabError, is_out_of_memory
from quantlab.graph.external_data import externalised
from quantlab.graph.probe import expose
from quantlab.graph.size_limits import refuse_huge_tensors
from quantlab.graph.stored_tensors import is_heavy

_PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True, slots=True)
class OrtOptions:
    """How ONNX Runtime runs a network.

    Attributes
    ----------
    optimize
        Let it fuse and rewrite the graph. Off, each node computes what its definition says, in float: the setting
        in which a Q/DQ model simulates TensorRT (with it on, ONNX Runtime's own integer kernels are measured).
    threads
        Worker threads inside an operator; None is one a core.
    libraries
        Shared libraries with custom operators.
    integer_kernels
        Whether optimizing may put ONNX Runtime's integer kernels in the place of operators between Q/DQ.
    """

    optimize: bool = True
    threads: int | None = None
    libraries: tuple[str, ...] = ()
    integer_kernels: bool = True


def open_session(proto: onnx.ModelProto, computed: tuple[str, ...], options: OrtOptions) -> Any:
    """Open a session that has these tensors as outputs too.

    Raises
    ------
    InputError
        When ONNX Runtime cannot load the model, or a tensor is not in it.
    MachineError
        When memory runs out.
    """
    refuse_huge_tensors(proto)
    settings = _settings(options)
    try:
        if is_heavy(proto):
            return _opened_from_files(proto, computed, settings)
        exposed = expose(proto, computed) if computed else proto
        return _session(exposed.SerializeToString(), settings)
    except QuantlabError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        raise refusal("ONNX Runtime cannot load the model", error) from error


def _settings(options: OrtOptions) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options.threads or os.cpu_count() or 1
    # A waiting thread that spins burns the processor time that counting needs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not options.integer_kernels:
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    for library in options.libraries:
        register(settings, library)
    if not options.optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return settings


def _opened_from_files(proto: onnx.ModelProto, computed: tuple[str, ...], settings: Any) -> Any:
    """Open a model that protobuf cannot serialize: its weights go into a file, with no copy of them in memory."""
    with TemporaryDirectory(prefix="quantlab-") as folder:
        path = Path(folder) / "model.onnx"
        with (Path(folder) / "weights").open("wb") as file:
            bare = expose(proto, computed, weights=False)
            path.write_bytes(externalised(bare, file, "weights", weights=proto.graph.initializer).SerializeToString())
        return _session(str(path), settings)


def _session(model: bytes | str, settings: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, settings, providers=_PROVIDERS)


def refusal(what: str, error: BaseException) -> QuantlabError:
    """Return what a runtime's error means: that memory is used up, or that a model or its data cannot be used."""
    reason = first_line(error)
    if is_out_of_memory(error):
        return MachineError(
            f"{what}, as the memory is used up ({reason}): take a smaller batch, or a machine with more."
        )
    return InputError(f"{what}: {reason}{advice(reason)}")


def first_line(error: BaseException) -> str:
    """Return what a runtime's error says, without its prefix and its stack."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.rsplit(" : ", 1)[-1] if "[ONNXRuntimeError]" in text else text
