"""How a module is prepared for quantization-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quantlab.errors import UsageError
from quantlab.graph.placement import Head
from quantlab.graph.target import Target

BatchNorm = Literal["fold", "train"]


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """How fake quantization is put into a module.

    Attributes
    ----------
    target
        What the Q/DQ model is for; as `QuantizeOptions.target`. ONNX Runtime's (ort) has biases in INT32, in steps of
        activation scale · weight scale, which the module does not round: that is all in which the two differ. Zero
        points stay as they are, scales are learned about them.
    head
        float keeps the last weighted operators in float, int8 quantizes them too.
    keep_float
        Names of weighted ONNX nodes that stay float by wish.
    allow_missing
        Leave tensors float that the table lacks, instead of refusing.
    gradient
        lsq learns the scales; ste keeps those of the table, for weights too: what grows beyond the range of its
        channel is clipped, and the loss tells it so.
    weight_bits
        8, or fewer (from 2 on) for weights in −2^(b−1) … 2^(b−1) − 1, stored as INT8.
    batch_norm
        fold puts each BatchNorm into the layer before it, for good, as the ONNX model has it. train keeps it: its
        statistics follow the batches until `Prepared.freeze_batch_norm`, and the folded weight is quantized.
    exporter, opset
        Of the ONNX model: which of torch's exporters writes it, and in which version of the operators.
    inputs, outputs
        Names that the ONNX model of the table gives them; empty takes those that `ql.export` gives.
    dynamic_batch
        As `ExportOptions.dynamic_batch`.
    """

    target: str = "tensorrt"
    head: Head = "float"
    keep_float: tuple[str, ...] = ()
    allow_missing: bool = False
    gradient: Literal["ste", "lsq"] = "lsq"
    weight_bits: int = 8
    batch_norm: BatchNorm = "fold"
    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    opset: int = 17
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dynamic_batch: bool = True

    def __post_init__(self) -> None:
        Target.parse(self.target)
        if self.head not in ("float", "int8"):
            raise UsageError(f"The head is float or int8, not «{self.head}».")
        if self.gradient not in ("ste", "lsq"):
            raise UsageError(f"The gradient is ste or lsq, not «{self.gradient}».")
        if self.batch_norm not in ("fold", "train"):
            raise UsageError(f"batch_norm is fold or train, not «{self.batch_norm}».")
        if self.exporter not in ("torchscript", "dynamo"):
            raise UsageError(f"«{self.exporter}» is no exporter of torch's; there are torchscript and dynamo.")
        if not 2 <= self.weight_bits <= 8:
            raise UsageError(f"Weights have 2 to 8 bits, not {self.weight_bits}.")
