"""Task metrics: what a network's outputs are worth, sample by sample; the names a user types, each loaded when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlab.metrics.balanced_accuracy import BalancedAccuracy, ClassAccuracy
    from quantlab.metrics.character_error import CharacterError
    from quantlab.metrics.characters import read_characters
    from quantlab.metrics.correlation import Correlation
    from quantlab.metrics.detection.boxes import TrueBoxes
    from quantlab.metrics.detection.mean_precision import BoxAgreement, MeanPrecision
    from quantlab.metrics.detection.plain import Plain
    from quantlab.metrics.detection.suppression import Suppression
    from quantlab.metrics.detection.yolo_rows import YoloV5, YoloV8
    from quantlab.metrics.detection.yolov3 import YoloV3
    from quantlab.metrics.embedding_cosine import EmbeddingCosine
    from quantlab.metrics.f1 import F1
    from quantlab.metrics.label_files import read_labels
    from quantlab.metrics.mean_iou import MeanIoU
    from quantlab.metrics.names import parse_metric
    from quantlab.metrics.pair_correlation import PairCorrelation, pair_labels
    from quantlab.metrics.top_k import TopK
    from quantlab.metrics.word_accuracy import SameWords, WordAccuracy

_HOMES = {
    "BalancedAccuracy": "balanced_accuracy",
    "BoxAgreement": "detection.mean_precision",
    "CharacterError": "character_error",
    "ClassAccuracy": "balanced_accuracy",
    "Correlation": "correlation",
    "EmbeddingCosine": "embedding_cosine",
    "F1": "f1",
    "MeanIoU": "mean_iou",
    "MeanPrecision": "detection.mean_precision",
    "PairCorrelation": "pair_correlation",
    "Plain": "detection.plain",
    "SameWords": "word_accuracy",
    "Suppression": "detection.suppression",
    "TopK": "top_k",
    "TrueBoxes": "detection.boxes",
    "WordAccuracy": "word_accuracy",
    "YoloV3": "detection.yolov3",
    "YoloV5": "detection.yolo_rows",
    "YoloV8": "detection.yolo_rows",
    "pair_labels": "pair_correlation",
    "parse_metric": "names",
    "read_characters": "characters",
    "read_labels": "label_files",
}

__all__ = [
    "F1", "BalancedAccuracy", "BoxAgreement", "CharacterError", "ClassAccuracy", "Correlation", "EmbeddingCosine",
    "MeanIoU", "MeanPrecision", "PairCorrelation", "Plain", "SameWords", "Suppression", "TopK", "TrueBoxes",
    "WordAccuracy", "YoloV3", "YoloV5", "YoloV8", "pair_labels", "parse_metric", "read_characters",
    "read_labels",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"quantlab.metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'quantlab.metrics' has no attribute '{name}'")
