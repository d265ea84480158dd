"""Which images a folder, a list or a manifest names, and their labels."""

import csv
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePosixPath

from quantlab.errors import InputError, UsageError

if sys.version_info >= (3, 11):
    from re._parser import SubPattern  # type: ignore[import-not-found]
    from re._parser import parse as _parse
else:
    from sre_parse import SubPattern
    from sre_parse import parse as _parse

_MOST_REPEATS = 3  # on a name of 255 bytes, each further one would be a hundred times the work

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""File name endings that make a file in a folder an image; lists and manifests may name any file."""

_ARRAYS = (".npz", ".npy", ".h5", ".hdf5")

LARGEST = 1 << 26
"""Bytes of the largest list or manifest: half a million long paths."""

Source = str | PathLike[str] | Sequence[str | PathLike[str]]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image: where it is, how it is called within its set, and its class if known."""

    path: Path
    name: str
    label: int | None = None


def list_images(source: Source, label_pattern: str | None) -> tuple[ImageFile, ...]:
    """Return the images that a folder, a list file, a CSV manifest or a sequence of paths names.

    Raises
    ------
    InputError
        When the source is missing, names no image or cannot be read, or a label is missing or no integer.
    UsageError
        When the label pattern is no expression with one group, or the manifest has labels already.
    """
    pattern = None if label_pattern is None else _compiled(label_pattern)
    if not isinstance(source, (str, PathLike)):
        files = [ImageFile(Path(path), _shown(Path(path).as_posix())) for path in source]
    else:
        files = _in_folder(Path(source), pattern is None) if Path(source).is_dir() else _in_file(Path(source))
    if not files:
        raise InputError(_no_image(source))
    if pattern is None:
        return tuple(files)
    if files[0].label is not None:
        raise UsageError(f"{source} holds labels already: give no label pattern, or a list without labels.")
    return tuple(replace(file, label=_label(file, pattern)) for file in files)


def _no_image(source: Source) -> str:
    said = f"There is no image in {source}; images end in {', '.join(sorted(SUFFIXES))}"
    there = sorted(Path(source).iterdir()) if isinstance(source, (str, PathLike)) and Path(source).is_dir() else []
    arrays = [path for path in there if path.suffix.lower() in _ARRAYS]
    return (
        f"There is no image in '{source}': for arrays, give the file itself, '{arrays[0]}'." if arrays else f"{said}."
    )


def _in_folder(root: Path, classes: bool) -> list[ImageFile]:
    found: dict[str, Path] = {}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and not _loops(here / name)]
        images = (here / name for name in names if not name.startswith("."))
        found |= {path.relative_to(root).as_posix(): path for path in images if path.suffix.lower() in SUFFIXES}
    labels = class_labels(list(found)) if classes else {}
    return [ImageFile(found[name], _shown(name), labels.get(_top(name))) for name in sorted(found)]


def _loops(folder: Path) -> bool:
    """Tell whether a link leads to a folder through which the walk came here."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(parent.resolve().is_relative_to(target) for parent in folder.parents)


def class_labels(names: list[str]) -> dict[str, int]:
    """Return the label of each top folder: its number, else its place; none unless they can be classes.

    One folder that is no number says nothing of classes: it holds the images, and the folder above was given.
    """
    tops = sorted({_top(name) for name in names})
    if not tops or "" in tops:
        return {}
    if all(top.isascii() and top.isdecimal() for top in tops):
        return {top: int(top) for top in tops}
    return {top: index for index, top in enumerate(tops)} if len(tops) > 1 else {}


def _top(name: str) -> str:
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else ""


def _in_file(path: Path) -> list[ImageFile]:
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise InputError(f"{path} is a single image: give its folder, or a list with one path a line.")
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise InputError(f"{path} is no regular file: give a folder, a list or a manifest of images.")
        if path.exists() and path.stat().st_size > LARGEST:
            raise InputError(f"{path} is larger than {LARGEST >> 20} MiB, which no list of images is.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"There is no folder, list or manifest {path}.") from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a list of images: {error}.") from error
    if path.suffix.lower() == ".csv":
        return _in_manifest(path, text)
    lines = (line.strip() for line in text.split("\n"))
    return [ImageFile(path.parent / line, line) for line in lines if line and not line.startswith("#")]


def _in_manifest(path: Path, text: str) -> list[ImageFile]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True, strict=True)
    files: list[ImageFile] = []
    try:
        header = rows.fieldnames or []
        if "path" not in header:
            raise InputError(f"The manifest {path} must begin with the header «path,label», not {','.join(header)!r}.")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            name = (row["path"] or "").strip()
            if not name:
                raise InputError(f"{where}: there is no path.")
            label = _integer(row["label"], where) if "label" in header else None
            files.append(ImageFile(path.parent / name, name, label))
    except csv.Error as error:
        raise InputError(f"The manifest {path} is damaged after line {rows.line_num}: {error}.") from error
    return files


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"The label pattern {pattern!r} is no regular expression: {error}.") from error
    if _may_take_for_ever(pattern):
        raise UsageError(
            f"The label pattern {pattern!r} repeats what has choices, or more than three parts: on some names it would never end; "
            r"write a plain one, such as ^(\d+)_."
        )
    if compiled.groups != 1:
        raise UsageError(f"The label pattern {pattern!r} has {compiled.groups} groups; give one, around the number.")
    return compiled


def _may_take_for_ever(pattern: str) -> bool:
    """Tell whether an expression backtracks exponentially, as (a+)+ and (a|ab)* do, or with a high power of the length."""
    return _repeats(_parse(pattern), within=False) > _MOST_REPEATS


def _repeats(part: object, *, within: bool) -> int:
    """Return how many repetitions of no fixed count there are; one, or alternatives, within another are too many."""
    if isinstance(part, tuple) and len(part) == 2 and str(part[0]).endswith("REPEAT"):
        least, most, inner = part[1]
        open_ended = int(least) < int(most)
        counted = _MOST_REPEATS + 1 if open_ended and within else int(open_ended)
        return counted + _repeats(inner, within=within or int(most) > 1)
    if isinstance(part, tuple) and len(part) == 2 and str(part[0]) == "BRANCH" and within:
        return _MOST_REPEATS + 1
    inside = part.data if isinstance(part, SubPattern) else part
    if isinstance(inside, (tuple, list)):
        return sum(_repeats(inner, within=within) for inner in inside)
    return 0


def _label(file: ImageFile, pattern: re.Pattern[str]) -> int:
    match = pattern.search(file.path.stem)
    if match is None:
        raise InputError(f"The label pattern {pattern.pattern!r} does not fit the file name of {file.path}.")
    return _integer(match[1], str(file.path))


def _integer(text: str | None, where: str) -> int:
    try:
        label = int(text or "")
    except ValueError as error:
        raise InputError(f"{where}: the label must be an integer, not {text or ''!r}.") from error
    if not -(2**63) <= label < 2**63:
        raise InputError(f"{where}: the label {label} does not fit into 64 bits.")
    return label


def _shown(name: str) -> str:
    """Return the name in characters that can be printed and stored, whatever bytes the file system has."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
