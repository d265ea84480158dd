"""Exports a trained net to ONNX, batch norms folded, and checks what came out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

OPSET = 17
TOLERANCE = 1e-4
"""Of a logit, between torch and ONNX Runtime: both round float32, each in its order."""


def export(net: nn.Module, path: Path) -> None:
    """Write ``net`` as one ONNX file: ``image`` [batch,1,28,28] to ``logits`` [batch,10]."""
    net = fold(net.eval().to(memory_format=torch.contiguous_format))
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 28, 28),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=OPSET,
        # The newer exporter writes the traced source's paths into the file.
        dynamo=False,
    )
    check(net, path)


def fold(module: nn.Module) -> nn.Module:
    """Fold each ``norm`` into the ``conv`` beside it, in place; return the module.

    The exporter would fold them too, but lose the names of the weights.
    """
    for child in module.children():
        fold(child)
    if hasattr(module, "norm"):
        module.conv = fuse_conv_bn_eval(module.conv, module.norm)
        module.norm = nn.Identity()
    return module


def check(net: nn.Module, path: Path) -> None:
    """Raise if the file is malformed, fixes its batch, or computes something else."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (1, 7):
        image = torch.randn(size, 1, 28, 28)
        with torch.inference_mode():
            exact = net(image).numpy()
        (got,) = session.run(["logits"], {"image": image.numpy()})
        np.testing.assert_allclose(got, exact, rtol=TOLERANCE, atol=TOLERANCE)
