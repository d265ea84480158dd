"""Names of metrics, for the command line and job files: «f1:macro» becomes an object once, here."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantlab.errors import UsageError
from quantlab.graph.model import Model
from quantlab.metrics.arguments import Arguments
from quantlab.metrics.balanced_accuracy import BalancedAccuracy, ClassAccuracy
from quantlab.metrics.character_error import CharacterError
from quantlab.metrics.characters import characters_of, read_characters
from quantlab.metrics.correlation import Correlation
from quantlab.metrics.ctc import space_class
from quantlab.metrics.detection.boxes import Decoder
from quantlab.metrics.detection.mean_precision import AGAINST_FP32, BoxAgreement, MeanPrecision
from quantlab.metrics.detection.plain import Plain
from quantlab.metrics.detection.suppression import Suppression
from quantlab.metrics.detection.yolo_rows import YoloV5, YoloV8
from quantlab.metrics.detection.yolov3 import YoloV3
from quantlab.metrics.embedding_cosine import EmbeddingCosine
from quantlab.metrics.f1 import F1
from quantlab.metrics.mean_iou import MeanIoU
from quantlab.metrics.metric import Metric
from quantlab.metrics.pair_correlation import PairCorrelation
from quantlab.metrics.top_k import TopK
from quantlab.metrics.weighing import Weighable, WeighedScore
from quantlab.metrics.word_accuracy import SameWords, WordAccuracy
from quantlab.numerics.arrays import AnyArray

_FILE = re.compile(r"([:,]\s*characters\s*=\s*)([^,]+)")
DECODERS = ("yolov3", "yolov5", "yolov8", "plain")


def parse_metric(text: str) -> Metric:
    """Return the metric that «name», «name:value» or «name:value,key=value» stands for.

    «top:5», «balanced-accuracy», «class-accuracy:3», «f1:macro» (binary, micro), «miou», «map:yolov3» (yolov5, yolov8, plain;
    at=0.5, overlap=0.45 …), «boxes-as-fp32:yolov3», «word-accuracy:characters=dict.txt», «character-error», «words-as-fp32»,
    «spearman» and «pearson» (of pairs of embeddings; «spearman:predictions» of predicted numbers), «cosine».

    Raises
    ------
    UsageError
        For an unknown name or parameter; the valid ones are listed.
    InputError
        When a file of characters cannot be read.
    """
    name, arguments = Arguments.parse(text)
    if name not in METRICS:
        raise UsageError(f"Unknown metric «{name}»; the known ones are {', '.join(METRICS)}.")
    found: Metric = METRICS[name](arguments)
    return found


def with_files(text: str, folder: Path) -> str:
    """Return a metric's name with the files that it names taken relative to a folder."""
    return _FILE.sub(lambda found: f"{found[1]}{folder / found[2].strip()}", text)


def files_in(text: str) -> tuple[str, ...]:
    """Return the files that a metric's name names."""
    return tuple(found[2].strip() for found in _FILE.finditer(text))


def for_model(metric: Metric, model: Model) -> Metric:
    """Return the metric, with the characters, or the class of the space, from the model's metadata where it reads text."""
    if isinstance(metric, (WordAccuracy, CharacterError)) and not metric.characters:
        return replace(metric, characters=characters_of(model))
    characters = characters_of(model) if isinstance(metric, SameWords) else ()
    if isinstance(metric, SameWords) and characters and metric.space is None:
        return replace(metric, space=space_class(characters, metric.blank))
    return metric


def score_named(name: str) -> Callable[[AnyArray], float] | None:
    """Return what makes a score of all samples' values, by the metric's name in a comparison; None where it is the mean.

    Metrics of a user's own are not known here: None too.
    """
    known: tuple[Any, ...] = (
        BalancedAccuracy(),
        *(F1(average) for average in ("binary", "macro", "micro")),
        MeanIoU(),
        CharacterError(),
        *(make(kind) for make in (Correlation, PairCorrelation) for kind in ("spearman", "pearson")),
    )
    for metric in known:
        if metric.name == name:
            return _scoring(metric)
    if match := re.fullmatch(r"accuracy of class (\d{1,9})", name):
        return ClassAccuracy(int(match[1])).score
    if match := re.fullmatch(r"(?:mAP|AP([5-9][05]))", name.removesuffix(AGAINST_FP32)):
        return WeighedScore(MeanPrecision(YoloV3(), None if match[1] is None else int(match[1]) / 100))
    return None


def _scoring(metric: Any) -> Callable[[AnyArray], float]:
    scoring: Callable[[AnyArray], float] = WeighedScore(metric) if isinstance(metric, Weighable) else metric.score
    return scoring


def _top(given: Arguments) -> Any:
    return given.finish(TopK(_place(given, "1"), given.text_of("output")), first=True)


def _balanced(given: Arguments) -> Any:
    return given.finish(BalancedAccuracy(given.text_of("output")))


def _of_class(given: Arguments) -> Any:
    return given.finish(ClassAccuracy(_place(given, ""), given.text_of("output")), first=True)


def _f1(given: Arguments) -> Any:
    average: Any = given.first or "macro"
    return given.finish(F1(average, given.text_of("output")), first=True)


def _miou(given: Arguments) -> Any:
    classes = given.whole("classes", 0)
    return given.finish(MeanIoU(classes or None, given.whole("ignore", 255), given.text_of("output")))


def _map(given: Arguments) -> Any:
    at, limit = given.number("at", 0.0), given.whole("limit", 100)
    return given.finish(MeanPrecision(_decoder(given), at or None, limit), first=True)


def _boxes(given: Arguments) -> Any:
    at, limit, sure = given.number("at", 0.5), given.whole("limit", 100), given.number("sure", 0.25)
    return given.finish(BoxAgreement(_decoder(given), at or None, limit, sure), first=True)


def _decoder(given: Arguments) -> Decoder:
    if given.first not in DECODERS:
        raise UsageError(
            f"Metric «{given.text}» needs the name of a decoder, as in «map:yolov3»; there are {', '.join(DECODERS)}."
        )
    if given.first == "plain":
        order = tuple(filter(None, (given.text_of("order") or "").split("/")))
        return Plain(given.whole("classes", 80), order, by_row=given.text_of("corners", "xyxy") == "yxyx")
    suppression = Suppression(given.number("least", 0.001), given.number("overlap", 0.45))
    if given.first == "yolov3":
        return YoloV3(suppression=suppression)
    return (YoloV5 if given.first == "yolov5" else YoloV8)(given.text_of("output"), suppression)


def _words(given: Arguments) -> Any:
    return given.finish(WordAccuracy(_characters(given), given.whole("blank", 0), given.text_of("output")))


def _characters_wrong(given: Arguments) -> Any:
    return given.finish(CharacterError(_characters(given), given.whole("blank", 0), given.text_of("output")))


def _same_words(given: Arguments) -> Any:
    blank, output, space = given.whole("blank", 0), given.text_of("output"), given.text_of("space")
    if space is not None and not (space.isdecimal() and len(space) < 10):
        raise UsageError(f"Metric «{given.text}»: space is «{space}», no class.")
    return given.finish(SameWords(blank, output, None if space is None else int(space)))


def _characters(given: Arguments) -> tuple[str, ...]:
    path = given.text_of("characters")
    return () if path is None else read_characters(Path(path))


def _correlation(kind: Any) -> Callable[[Arguments], Any]:
    def made(given: Arguments) -> Any:
        if given.first not in ("", "pairs", "predictions"):
            raise UsageError(f"Metric «{given.text}» is of pairs or of predictions, not of «{given.first}».")
        make = Correlation if given.first == "predictions" else PairCorrelation
        return given.finish(make(kind, given.text_of("output")), first=True)

    return made


def _cosine(given: Arguments) -> Any:
    return given.finish(EmbeddingCosine(given.text_of("output")))


def _place(given: Arguments, default: str) -> int:
    value = given.first or default
    if not value.isdecimal() or len(value) > 9:
        raise UsageError(f"Metric «{given.text}» needs a whole number, as in «top:5», not «{value}».")
    return int(value)


METRICS: dict[str, Callable[[Arguments], Any]] = {
    "top": _top,
    "balanced-accuracy": _balanced,
    "class-accuracy": _of_class,
    "f1": _f1,
    "miou": _miou,
    "map": _map,
    "boxes-as-fp32": _boxes,
    "word-accuracy": _words,
    "character-error": _characters_wrong,
    "words-as-fp32": _same_words,
    "spearman": _correlation("spearman"),
    "pearson": _correlation("pearson"),
    "cosine": _cosine,
}
