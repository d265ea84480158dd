"""Labels out of COCO's annotation files: boxes by image file name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantlab.data.preprocess import Preprocess
from quantlab.errors import InputError
from quantlab.metrics.detection.boxes import TrueBoxes
from quantlab.metrics.detection.placing import Placing
from quantlab.metrics.labels import NamedLabels
from quantlab.storage.text import read_text
from quantlab.storage.validated import validated

_LARGEST = 1 << 26
"""Bytes; COCO's 5,000 validation images have 20 MB, most of it outlines that nobody reads here."""

_FINITE = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Image(BaseModel):
    model_config = _FINITE
    id: int
    file_name: str = Field(max_length=4096)
    width: int = Field(ge=1, le=1 << 20)
    height: int = Field(ge=1, le=1 << 20)


class _Annotation(BaseModel):
    model_config = _FINITE
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = Field(0, ge=0, le=1)


class _Category(BaseModel):
    model_config = _FINITE
    id: int
    name: str = ""


class _File(BaseModel):
    model_config = _FINITE
    images: list[_Image] = Field(min_length=1, fail_fast=True)
    annotations: list[_Annotation] = Field(fail_fast=True)
    categories: list[_Category] = Field(min_length=1, fail_fast=True)


@dataclass(frozen=True, slots=True)
class CocoLabels:
    """What an annotation file says.

    Attributes
    ----------
    labels
        `TrueBoxes` by file name, in pixels of the network's input.
    categories
        Names of the classes, in the order of their numbers.
    """

    labels: NamedLabels
    categories: tuple[str, ...]


def read_coco(path: Path, preprocess: Preprocess | None = None) -> CocoLabels:
    """Read COCO's JSON of boxes («instances»).

    The categories sorted by id are the classes from 0 on: COCO's ids, which have gaps, become the 80 classes of Darknet
    and YOLO exports.

    Parameters
    ----------
    preprocess
        How the images reach the network: boxes are moved with them. None leaves them where they are.

    Raises
    ------
    InputError
        When the file is missing, larger than 64 MiB, no such JSON, or refers to images or categories that it does not list.
    """
    found = _parsed(path)
    classes = {each: place for place, each in enumerate(sorted({category.id for category in found.categories}))}
    boxes: dict[int, list[_Annotation]] = {image.id: [] for image in found.images}
    for annotation in found.annotations:
        if annotation.image_id not in boxes or annotation.category_id not in classes:
            raise InputError(
                f"'{path}': an annotation is of image {annotation.image_id} and category {annotation.category_id}, which are "
                "not both listed."
            )
        if min(annotation.bbox[2:]) < 0:
            raise InputError(
                f"'{path}': a box of image {annotation.image_id} has a negative size, {list(annotation.bbox)}."
            )
        boxes[annotation.image_id].append(annotation)
    by_name = {image.file_name: _true(boxes[image.id], image, classes, preprocess) for image in found.images}
    if len(by_name) < len(found.images) or len(boxes) < len(found.images):
        raise InputError(f"'{path}' lists an image twice, by id or by file name.")
    names = {category.id: category.name for category in found.categories}
    return CocoLabels(NamedLabels(by_name, object, str(path)), tuple(names[each] for each in classes))


def _parsed(path: Path) -> _File:
    text = read_text(path, "COCO annotations", largest=_LARGEST)
    try:
        document: Any = json.loads(text)
        return validated(_File, document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"'{path}' holds no COCO annotations of boxes: {place}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' holds no COCO annotations: its JSON is damaged ({error}).") from error


def _true(
    annotations: list[_Annotation], image: _Image, classes: Mapping[int, int], preprocess: Preprocess | None
) -> TrueBoxes:
    sides = np.array([each.bbox for each in annotations], np.float64).reshape(-1, 4)
    corners = np.hstack([sides[:, :2], sides[:, :2] + sides[:, 2:]])
    if preprocess is not None:
        corners = Placing.of(preprocess, image.height, image.width).moved(corners)
    return TrueBoxes(
        corners,
        np.array([classes[each.category_id] for each in annotations], np.int64),
        np.array([each.iscrowd == 1 for each in annotations], bool),
    )
