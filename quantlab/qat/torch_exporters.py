"""Runs torch's two ONNX exporters, and knows what each of them warns of without need."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from quantlab.graph.model import load_model
from quantlab.qat.export_example import Arguments, flat
from quantlab.qat.missing import require_onnxscript

DYNAMO_OPSET = 18
"""The least operator set that the dynamo exporter writes."""

_KNOWN = (
    # said of every export since torch 2.9, for whoever did not choose
    (DeprecationWarning, "You are using the legacy TorchScript-based ONNX export"),
    (DeprecationWarning, "The feature will be removed. Please remove usage of this function"),
    # torch's own code, in its calls of itself
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
)
_REGISTRATION = "torch.onnx._internal.exporter._registration"  # says that torchvision is not installed


def run_torchscript(
    module: nn.Module, arguments: Arguments, outputs: tuple[str, ...], *, opset: int, dynamic: Mapping[str, bool]
) -> onnx.ModelProto:
    """Export by tracing; `dynamic` tells of every input and output whether its first dimension is the batch."""
    axes = {name: {0: "batch"} for name, free in dynamic.items() if free}

    def write(path: Path) -> None:
        torch.onnx.export(
            module,
            (*arguments.positional, dict(arguments.named)) if arguments.named else arguments.positional,
            str(path),
            input_names=list(arguments.names),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )

    return _written(module, write)


def run_dynamo(
    module: nn.Module,
    arguments: Arguments,
    outputs: tuple[str, ...],
    *,
    opset: int,
    dynamic: Mapping[str, bool],
    translations: Mapping[Callable[..., Any], Any] | None = None,
) -> onnx.ModelProto:
    """Export by torch.export; `translations` are of operators of one's own, as torch's `custom_translation_table`."""
    require_onnxscript()
    dimension = torch.export.Dim("batch")
    free = [{0: dimension} if dynamic[name] else None for name in arguments.names]
    by_place, by_name = free[: len(arguments.positional)], free[len(arguments.positional) :]
    shapes: Any = dict(zip(arguments.named, by_name, strict=True)) if arguments.named else tuple(by_place)

    def write(path: Path) -> None:
        program: Any = torch.onnx.export(
            module,
            arguments.positional,
            kwargs=dict(arguments.named),
            input_names=list(arguments.names),
            output_names=list(outputs),
            dynamic_shapes=shapes if any(dynamic.values()) else None,
            opset_version=opset,
            custom_translation_table=dict(translations or {}),
            dynamo=True,
            verbose=False,
        )
        program.save(str(path))

    return _written(module, write)


def _written(module: nn.Module, write: Callable[[Path], None]) -> onnx.ModelProto:
    """Return what an exporter writes: through a file, as only there it knows what to do above 2 GiB."""
    with TemporaryDirectory(prefix="quantlab-") as folder, _flat_outputs(module), _quiet():
        path = Path(folder) / "model.onnx"
        write(path)
        return load_model(path).proto


@contextmanager
def _flat_outputs(module: nn.Module) -> Iterator[None]:
    """Let a module return its tensors as a tuple: the tracer refuses dicts."""

    def flattened(_module: nn.Module, _given: Any, found: Any) -> tuple[Tensor, ...] | Tensor:
        return flat(found)

    handle = module.register_forward_hook(flattened)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the warnings that are known, and the graphs that torch prints to stdout before it raises."""
    logger = logging.getLogger(_REGISTRATION)
    level = logger.level
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        for category, text in _KNOWN:
            warnings.filterwarnings("ignore", text, category)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
