"""Where samples come from, as declared on the command line or in a job, and the data set that it opens."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL

from quantlab.data import Dataset, Preprocess, arrays, images, random_data, script
from quantlab.data.array_files import read_columns
from quantlab.data.images import Images
from quantlab.data.listing import list_images
from quantlab.data.stream import Stream
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError, UsageError
from quantlab.jobs.manifest import file_digest
from quantlab.workers.remote import remote_data
from quantlab.workers.store import is_remote

ARRAY_FILES = frozenset({".npz", ".npy", ".h5", ".hdf5"})
_BLOCK = 65536


@dataclass(frozen=True, slots=True)
class DataSource:
    """A declared data set; nothing is read yet.

    Attributes
    ----------
    place
        A folder of images, a text list or CSV manifest of images, a .npz, .npy or .h5 file, or a Python file with
        `load_data()` («loader.py» or «loader.py:function»); None with `random`.
    preprocess
        What happens to each image; required for image files.
    batch
        Samples a batch.
    input
        The model's input, where the data do not name it and the model has several.
    label_pattern
        Regular expression for the label in an image file's name.
    skip_bad
        Leave out unreadable images instead of refusing them.
    random
        So many random samples instead of data.
    labels
        A file of labels that are not one integer a sample, or that stand in for the data's own (`read_labels`).
    """

    place: str | None = None
    preprocess: Preprocess | None = None
    batch: int = 32
    input: str | None = None
    label_pattern: str | None = None
    skip_bad: bool = False
    random: int | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        if (self.place is None) == (self.random is None):
            raise UsageError(
                "Give the data (a folder, list, array file or script), or ask for random data: one of them."
            )


def open_data(source: DataSource, inputs: Mapping[str, TensorSpec], *, name: str | None = None) -> Dataset:
    """Open a declared data set.

    Parameters
    ----------
    source
        What was declared.
    inputs
        The model's inputs; only random data ask for them.
    name
        The set's name in artefacts; by default the file's or folder's.

    Raises
    ------
    InputError
        When the data are missing, empty or damaged.
    UsageError
        When an option does not go with this kind of data.
    """
    if source.random is not None:
        _only(source, "random data")
        return random_data(inputs, source.random, 0, batch=_random_batch(source.batch, inputs))
    place = source.place or ""
    if is_remote(place):
        return remote_data(
            place,
            preprocess=source.preprocess,
            batch=source.batch,
            label_pattern=source.label_pattern,
            skip_bad=source.skip_bad,
            input=source.input,
            name=name,
        )
    kind = _kind(place)
    if kind == "script":
        _only(source, "a Python script")
        return script(place, name=name)
    if kind == "arrays":
        _only(source, "an array file", "preprocess", "input")
        given = {} if source.input is None else {"input": source.input}
        return arrays(place, preprocess=source.preprocess, batch=source.batch, name=name, **given)
    if source.preprocess is None:
        raise UsageError(
            f"'{place}' is taken for images, and nothing says how the model wants them: declare the preprocessing (size, layout, "
            "colour, scale, mean, std) with --preprocess, or as `preprocess` in a job."
        )
    return images(
        place,
        preprocess=source.preprocess,
        batch=source.batch,
        input=source.input,
        label_pattern=source.label_pattern,
        skip_bad=source.skip_bad,
        name=name,
    )


def digests(source: DataSource, data: Dataset, *, labels: bool = False, order: bool = False) -> dict[str, str]:
    """Return the digests under which an opened data set enters a recipe.

    A script is run once in full for it, unless it has been read before.

    Parameters
    ----------
    source, data
        What was declared, and what `open_data` made of it.
    labels
        With the labels', where the samples have any; for a script, which may yield them, with the script's.
    order
        With that of the samples' order.
    """
    if isinstance(data, Stream):
        _read_once(data)
    found = {"data": data.identity.digest}
    if source.place is not None and is_remote(source.place):
        return found | _remote_digests(data)
    if labels and source.labels is not None:
        return found | {"labels": file_digest(Path(source.labels))} | _script_digest(source)
    if source.place is not None and _kind(source.place) == "script":
        return found | (_script_digest(source) if labels else {})
    if labels and source.place is not None:
        found |= _label_digest(source)
    if order and source.place is not None:
        found["order of the samples"] = _order_digest(source)
    return found


def _remote_digests(data: Any) -> dict[str, str]:
    """Return the digests of the order of a store's samples and of their labels."""
    named = hashlib.blake2b(b"".join(data.sample_hashes), digest_size=32)
    files = getattr(data, "files", ())
    labels = "\n".join(f"{file.label} {file.name}" for file in files)
    labelled = {"labels": f"blake2b:{hashlib.blake2b(labels.encode(), digest_size=32).hexdigest()}"} if files else {}
    return {"order of the samples": f"blake2b:{named.hexdigest()}", **labelled}


def options(source: DataSource) -> dict[str, Any]:
    """Return what of a declaration changes a result, as JSON values; Pillow's versions decode and resize differently."""
    declared = {
        "preprocess": source.preprocess.to_json() if source.preprocess else None,
        "input": source.input,
        "Pillow": PIL.__version__ if _asks_pillow(source) else None,
    }
    return {key: value for key, value in declared.items() if value is not None}


def skipped(data: Dataset) -> tuple[str, ...]:
    """Return the names of the images left out of the latest pass."""
    return data.skipped if isinstance(data, Images) else ()


def located(source: DataSource, folder: Path) -> DataSource:
    """Return the source with its place and its labels taken relative to a folder."""
    place, labels = (
        None if at is None else at if is_remote(at) else str(folder / at) for at in (source.place, source.labels)
    )
    return replace(source, place=place, labels=labels)


def script_of(source: DataSource) -> Path | None:
    """Return the user's own Python file that yields the samples; None where they are read otherwise."""
    place = source.place
    return _script_path(place) if place is not None and not is_remote(place) and _kind(place) == "script" else None


def _asks_pillow(source: DataSource) -> bool:
    """Tell whether images are decoded, or arrays resized."""
    arrays_alone = Path(source.place or "").suffix.lower() in ARRAY_FILES
    return source.preprocess is not None and (not arrays_alone or source.preprocess.resize is not None)


def _kind(place: str) -> str:
    suffix = Path(place).suffix.lower()
    if _script_path(place).suffix.lower() == ".py":
        return "script"
    if suffix in ARRAY_FILES and not Path(place).is_dir():
        return "arrays"
    if not Path(place).exists():
        raise InputError(f"There is no data file or folder '{place}'.")
    return "images"


def _script_path(place: str) -> Path:
    path, colon, function = place.rpartition(":")
    return Path(path) if colon and function.isidentifier() else Path(place)


def _script_digest(source: DataSource) -> dict[str, str]:
    """Return the digest of the script that yields the samples, if one does."""
    path = script_of(source)
    return {} if path is None else {"script": file_digest(path)}


def _only(source: DataSource, what: str, *names: str) -> None:
    """Refuse options that this kind of data has no use for."""
    defaults = DataSource(random=1)
    for name in ("preprocess", "input", "label_pattern", "skip_bad"):
        if name not in names and getattr(source, name) != getattr(defaults, name):
            raise UsageError(f"The option {name.replace('_', '-')} does not go with {what}.")


def _random_batch(batch: int, inputs: Mapping[str, TensorSpec]) -> int | None:
    fixed = any(spec.shape and isinstance(spec.shape[0], int) for spec in inputs.values())
    return None if fixed else batch


def _read_once(data: Stream) -> None:
    try:
        data.identity  # noqa: B018 - it raises until the stream has been read
    except InputError:
        for _ in data:
            pass


def _label_digest(source: DataSource) -> dict[str, str]:
    state = hashlib.blake2b(digest_size=32)
    if _kind(source.place or "") == "arrays":
        column = read_columns(Path(source.place or "")).get("label")
        if column is None:
            return {}
        for block in column.blocks(_BLOCK):
            state.update(block.astype("<i8").tobytes())
    else:
        files = list_images(source.place or "", source.label_pattern)
        if files[0].label is None:
            return {}
        state.update("\n".join(f"{file.label} {file.name}" for file in files).encode())
    return {"labels": f"blake2b:{state.hexdigest()}"}


def _order_digest(source: DataSource) -> str:
    if _kind(source.place or "") == "arrays":
        return file_digest(Path(source.place or ""))
    names = "\n".join(file.name for file in list_images(source.place or "", source.label_pattern))
    return f"blake2b:{hashlib.blake2b(names.encode(), digest_size=32).hexdigest()}"
