"""A PyTorch module in, an ONNX model out that computes the same: `ql.export`; torch loads when it is called."""

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Literal, get_args

from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.qat.missing import require_torch

if TYPE_CHECKING:
    from torch import nn

    from quantlab.qat.export_example import Example

Exporter = Literal["torchscript", "dynamo"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a module becomes ONNX.

    Attributes
    ----------
    opset
        Version of the ONNX operators; TensorRT 8.6 reads up to 17.
    dynamic_batch
        Leave the first dimension of inputs and outputs free, where it is the batch.
    exporter
        torchscript traces the module; dynamo uses torch.export, which also follows some control flow.
    inputs
        Names of the inputs; empty takes those of forward's parameters.
    outputs
        Names of the outputs; empty takes a dict's keys, «output», or «output_0», «output_1» and so on.
    simplify
        Reduce chains of shape operators with onnxslim (extra «slim»).
    external_data
        Put the weights into a file of their own beside the model; above 2 GiB that happens anyway.
    """

    opset: int = 17
    dynamic_batch: bool = True
    exporter: Exporter = "torchscript"
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    simplify: bool = False
    external_data: bool = False

    def __post_init__(self) -> None:
        if self.exporter not in get_args(Exporter):
            raise UsageError(f"«{self.exporter}» is no exporter of torch's; there are torchscript and dynamo.")


def export(
    model: "nn.Module",
    example: "Example",
    path: str | PathLike[str] | None = None,
    *,
    options: ExportOptions | None = None,
) -> Model:
    """Return a module as an ONNX model, checked against the module itself, and write it if there is a path.

    The module is exported in eval mode; afterwards each of its parts is in the mode it was in. Conv and BatchNorm are
    one node then. ONNX Runtime must give what the module gives on the example, and with a free batch on every sample
    twice as well; the largest difference is kept in the model's metadata (`export_difference` reads it).

    Parameters
    ----------
    model
        Any `nn.Module` whose inputs and outputs are tensors.
    example
        A tensor, a tuple of tensors in the order of forward's parameters, or tensors by these parameters' names.
    path
        Where to write it, whole or not at all; None writes nothing.
    options
        See `ExportOptions`.

    Raises
    ------
    UsageError
        For what is no module, no example, or names that do not fit.
    InputError
        When the module fails on the example, cannot be exported, or gives other numbers in ONNX Runtime.
    MachineError
        When there is no torch, when onnxscript or onnxslim are asked for and not installed, or the file cannot be written.
    """
    require_torch()
    from quantlab.qat.onnx_tracing import exported

    settings = options or ExportOptions()
    loaded = load_model(exported(model, example, settings))
    if path is None:
        return loaded
    return Model(loaded.proto, write_model(loaded, path, external=settings.external_data), loaded.digest)
