"""Where an artefact comes from: which data chose it, for which model, with which versions."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from typing_extensions import Self

from quantlab.errors import InputError, StaleError
from quantlab.numerics.markup import card

SKETCH = 16_384
"""Sample hashes that an identity keeps at most: all of a set of no more samples."""

_FORMER_SKETCH = 256
"""How many it kept once; artefacts of that time are still read."""

_DIGITS = 16
_SAMPLE_HASH = re.compile(f"[0-9a-f]{{{_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """What a set of samples is, whatever its order and batch size.

    A sample is recognised by a 64-bit hash of what its source holds, before any preprocessing: an image file by its
    bytes, under whatever name and in whatever folder; a row of arrays by its element types, shapes and values, whether
    they come from a .npy, .npz or .h5 file, a script or an iterable. Nothing is decoded for it, so these are other
    samples although a person would call them the same: the same pixels in another container (PNG, BMP, .npz), encoded
    anew or with other metadata in the file; the same values in another element type (uint8, float32) or shape; values
    changed in any bit, as by resizing, augmentation or noise; an image file beside its preprocessed array.

    Attributes
    ----------
    name
        The set's name, for instance «calibration».
    digest
        «blake2b:…» over the sorted hashes of all samples; labels are not part of it.
    count
        Samples, repeated ones included.
    preprocess
        The declared preprocessing as JSON; empty if there is none.
    random
        True if the samples are random numbers and no data at all.
    sketch
        The 16,384 smallest distinct 64-bit sample hashes, as 16 hex digits, ascending; in JSON one text without gaps.
    """

    name: str
    digest: str
    count: int
    preprocess: dict[str, Any] = field(default_factory=dict, hash=False)
    random: bool = False
    sketch: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        wrong = [text for text in self.sketch if not _SAMPLE_HASH.fullmatch(text)]
        if wrong or list(self.sketch) != sorted(set(self.sketch)) or len(self.sketch) > SKETCH:
            raise InputError(
                f"The sketch of the data «{self.name}» is not a rising list of at most {SKETCH:,} hashes of "
                f"{_DIGITS} hex digits{f' ({wrong[0]!r})' if wrong else ''}: the artefact was edited or damaged."
            )
        if self.count < 0:
            raise InputError(f"The data «{self.name}» cannot have {self.count} samples.")
        try:
            self._preprocess_text()
        except (TypeError, ValueError) as error:
            raise InputError(f"The preprocessing of the data «{self.name}» is not JSON: {error}.") from error

    def _repr_html_(self) -> str:
        steps = ", ".join(f"{key} {value}" for key, value in self.preprocess.items())
        facts = {"samples": self.count, "random": self.random or None, "preprocess": steps, "digest": self.digest[:24]}
        return card("DataIdentity", facts, name=self.name)

    @property
    def preprocess_digest(self) -> str:
        """«blake2b:…» of the preprocessing's canonical JSON (sorted keys, no blanks)."""
        return f"blake2b:{hashlib.blake2b(self._preprocess_text().encode(), digest_size=32).hexdigest()}"

    def _preprocess_text(self) -> str:
        return json.dumps(self.preprocess, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def overlap(self, other: "DataIdentity") -> float:
        """Estimate the share (0 … 1) of the smaller set's distinct samples that the larger one has too.

        Exact if both sets have at most 16,384 samples, so that a single shared one is seen, and 1 for equal digests.
        Otherwise it is measured on the samples whose hash is below the largest one that both sketches are complete
        up to: about 16,384 / larger of all. Fewer shared samples than larger / 16,384 are then likely to be missed.

        Raises
        ------
        InputError
            When the digests differ and one of the sets has samples but no sketch.
        """
        if self.digest == other.digest:
            return 1.0
        for side in (self, other):
            if side.count and not side.sketch:
                raise InputError(
                    f"The data «{side.name}» were recorded without a sketch, so what they share with other "
                    "data cannot be told: make the artefact again."
                )
        limit = min(self._complete_up_to, other._complete_up_to)
        mine = {text for text in self.sketch if text <= limit}
        theirs = {text for text in other.sketch if text <= limit}
        smaller = min(len(mine), len(theirs))
        return len(mine & theirs) / smaller if smaller else 0.0

    @property
    def _complete_up_to(self) -> str:
        full = len(self.sketch) in (SKETCH, _FORMER_SKETCH) and self.count > len(self.sketch)
        return self.sketch[-1] if full else "f" * _DIGITS

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, the sketch as one text: a list of hashes makes files a quarter longer."""
        return asdict(self) | {"sketch": "".join(self.sketch)}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, as JSON values or as text; the sketch may also be a list of hashes.

        Raises
        ------
        InputError
            When a field is missing, unknown or of another type.
        """
        found = _fields(value, fields(cls), "A data identity")
        return cls(
            name=_text(found, "name"),
            digest=_text(found, "digest"),
            count=_typed(found, "count", int),
            preprocess=_typed(found, "preprocess", dict),
            random=_typed(found, "random", bool),
            sketch=_hashes(found["sketch"]),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an artefact was made from.

    Attributes
    ----------
    model
        Digest of the model, «sha256:…».
    model_name
        The model's file name, for people.
    chosen_on
        Every set of samples that had a say; a final score on any of them is not one.
    versions
        What ran, by name: «quantlab», «onnxruntime», «cpu», ….
    grid
        The histogram's grid, for instance «log-linear» or «tensorrt, batch 32».
    """

    model: str
    model_name: str
    chosen_on: tuple[DataIdentity, ...]
    versions: dict[str, str] = field(hash=False)
    grid: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "model": self.model,
            "model_name": self.model_name,
            "chosen_on": [data.to_json() for data in self.chosen_on],
            "versions": dict(self.versions),
            "grid": self.grid,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When a field is missing, unknown or of another type.
        """
        found = _fields(value, fields(cls), "A provenance")
        versions = _typed(found, "versions", dict)
        _texts([*versions, *versions.values()], "versions")
        return cls(
            model=_text(found, "model"),
            model_name=_text(found, "model_name"),
            chosen_on=tuple(DataIdentity.from_json(data) for data in _typed(found, "chosen_on", list)),
            versions=versions,
            grid=_text(found, "grid"),
        )


def check_made_for(provenance: Provenance | None, model: str, name: str) -> None:
    """Refuse what was made for another model than the one of this digest; `name` is what to call it.

    Raises
    ------
    StaleError
        When the digests differ.
    """
    if provenance is not None and provenance.model != model:
        raise StaleError(
            f"The scales were made for «{provenance.model_name}» ({provenance.model[:19]}…), but {name} is "
            f"{model[:19]}…: the model has changed, so collect and calibrate again."
        )


def _fields(value: object, declared: tuple[Field[Any], ...], what: str) -> Mapping[str, Any]:
    """Return the JSON object's fields, having checked that they are the dataclass's."""
    parsed = _parsed(value, what) if isinstance(value, str) else value
    if not isinstance(parsed, Mapping):
        raise InputError(f"{what} must be a JSON object, not {type(parsed).__name__}.")
    wanted = [item.name for item in declared]
    missing = [name for name in wanted if name not in parsed]
    unknown = [str(name) for name in parsed if name not in wanted]
    if missing or unknown:
        wrong = f"no {', '.join(missing)}" if missing else f"unknown fields {', '.join(unknown)}"
        raise InputError(f"{what} has {wrong}; its fields are {', '.join(wanted)}.")
    return parsed


def _parsed(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not JSON: {error}.") from error


def _text(found: Mapping[str, Any], key: str) -> str:
    return _texts([found[key]], key)[0]


def _texts(values: Iterable[object], key: str) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    others = [value for value in values if not isinstance(value, str)]
    if others:
        raise InputError(f"«{key}» must be text, not {others[0]!r}.")
    return texts


def _hashes(sketch: object) -> tuple[str, ...]:
    if isinstance(sketch, str):
        return tuple(sketch[start : start + _DIGITS] for start in range(0, len(sketch), _DIGITS))
    if isinstance(sketch, list):
        return tuple(_texts(sketch, "sketch"))
    raise InputError(f"«sketch» must be text or a JSON array, not {sketch!r}.")


def _typed(found: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    """Return a field of exactly this type: JSON's true is no number."""
    if type(found[key]) is not kind:
        raise InputError(f"«{key}» must be a JSON {_JSON_NAMES[kind]}, not {found[key]!r}.")
    return found[key]


_JSON_NAMES = {int: "integer", bool: "true or false", dict: "object", list: "array"}
