"""The ImageNet sample and network of the reference material, as every measurement reads them."""

from pathlib import Path

from quantlab.data import Preprocess, images
from quantlab.data.batch import Dataset

PREPROCESS = Preprocess(layout="NCHW", color="RGB", scale=1.0, mean=127.0, std=128.0)


def network(reference: Path) -> Path:
    return reference / "models" / "efficientnet_lite0.onnx"


def calibration(reference: Path, *, batch: int = 32, limit: int | None = None) -> Dataset:
    """Return the calibration images in the order in which TensorRT saw them."""
    root = reference / "data" / "imagenet-sample"
    by_class = {int(path.name[:4]): path for path in (root / "calib").iterdir()}
    order = [by_class[int(line)] for line in (root / "order.txt").read_text().split()]
    return images(order[:limit], preprocess=PREPROCESS, batch=batch, label_pattern=r"^(\d{4})_", name="calib")


def evaluation(reference: Path, *, batch: int = 32) -> Dataset:
    """Return the images that never choose anything."""
    root = reference / "data" / "imagenet-sample"
    return images(root / "eval", preprocess=PREPROCESS, batch=batch, label_pattern=r"^(\d{4})_", name="eval")
