"""Traces a module into an ONNX model with either of torch's exporters, and checks it against the module."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import onnx
from torch import nn

from quantlab.errors import InputError, QuantlabError, UsageError
from quantlab.graph.model import load_model
from quantlab.qat.export_check import check_same
from quantlab.qat.export_example import Arguments, Example, arguments_of, first_sentence, outputs_of
from quantlab.qat.lower_opset import lowered
from quantlab.qat.missing import require_onnxslim
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.torch_exporters import DYNAMO_OPSET, run_dynamo, run_torchscript


def exported(model: nn.Module, example: Example, options: ExportOptions) -> onnx.ModelProto:
    """Return a module as ONNX, compared with it; see `quantlab.qat.onnx_export.export`."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"export needs a torch.nn.Module, not {type(model).__name__}.")
    if options.simplify:
        require_onnxslim()
    arguments = arguments_of(model, example, options.inputs)
    with evaluating(model):
        proto = traced(model, example, options=options)
        if options.simplify:
            proto = _simplified(proto)
        found = check_same(load_model(proto), model, _cases(arguments, options))
    onnx.helper.set_model_props(proto, {p.key: p.value for p in proto.metadata_props} | found.metadata)
    return proto


def traced(
    model: nn.Module,
    example: Example,
    *,
    options: ExportOptions,
    translations: Mapping[Callable[..., Any], Any] | None = None,
) -> onnx.ModelProto:
    """Return what torch's exporter makes of a module in eval mode, not compared with anything.

    `translations` tell the dynamo exporter of operators of one's own; the TorchScript one has a registry for them.

    Raises
    ------
    InputError, MachineError, UsageError
        As `export`.
    """
    arguments = arguments_of(model, example, options.inputs)
    with evaluating(model):
        names, dynamic = _free(model, arguments, options)
        try:
            if options.exporter == "torchscript":
                return run_torchscript(model, arguments, names, opset=options.opset, dynamic=dynamic)
            opset = max(options.opset, DYNAMO_OPSET)
            given = (
                arguments.doubled() if any(dynamic.values()) else arguments
            )  # a batch of one is taken for a constant
            proto = run_dynamo(model, given, names, opset=opset, dynamic=dynamic, translations=translations)
        except QuantlabError:
            raise
        except Exception as error:  # torch's exporters raise errors of every kind
            raise InputError(_refusal(model, options, error)) from error
    return proto if options.opset >= DYNAMO_OPSET else lowered(proto, options.opset)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for a while; each part returns to the mode it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _cases(arguments: Arguments, options: ExportOptions) -> tuple[Arguments, ...]:
    return (arguments, arguments.doubled()) if options.dynamic_batch and arguments.batch else (arguments,)


def _free(model: nn.Module, arguments: Arguments, options: ExportOptions) -> tuple[tuple[str, ...], dict[str, bool]]:
    """Return the outputs' names, and of every input and output whether its first dimension is the batch."""
    found = outputs_of(model, arguments)
    names = options.outputs or tuple(found)
    if len(names) != len(found) or len({*names, *arguments.names}) != len(names) + len(arguments.names):
        raise UsageError(
            f"The module has {len(found)} outputs, and the names given are {list(names)}: one for each, and none that an "
            "input has."
        )
    if not (options.dynamic_batch and arguments.batch):
        return names, dict.fromkeys((*arguments.names, *names), False)
    try:
        larger = outputs_of(model, arguments.doubled())
    except InputError as error:
        raise InputError(
            f"The module {type(model).__name__} cannot run a batch of {2 * arguments.batch} where it runs one of "
            f"{arguments.batch} ({first_sentence(error)}): give dynamic_batch=False, or make its forward independent of "
            "the batch."
        ) from error
    free = {name: arguments.is_batched(value) for name, value in zip(arguments.names, arguments.tensors, strict=True)}
    for name, one, two in zip(names, found.values(), larger.values(), strict=True):
        free[name] = one.shape != two.shape and one.ndim > 0 and two.shape[0] == 2 * one.shape[0]
    return names, free


def _refusal(model: nn.Module, options: ExportOptions, error: Exception) -> str:
    other = "dynamo" if options.exporter == "torchscript" else "torchscript"
    return (
        f"torch's {options.exporter} exporter cannot export {type(model).__name__} ({first_sentence(error)}): try "
        f"exporter='{other}', or write the part that it names with operators of torch's own."
    )


def _simplified(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    slim: onnx.ModelProto = import_module("onnxslim").slim(copy)
    return slim
