"""Folders as inputs: a JSON text lists the files, links and pipes to make, and which reader is to look at them.

`{"read": "images", "at": "set", "options": {…}, "files": {"set/1.png": "base64…", "set/b": {"link": ".."}, "p": {"pipe": 1}}}`
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from quantlab.data import Preprocess, arrays, images
from quantlab.data.array_files import read_columns
from quantlab.graph.model import load_model
from quantlab.jobs.manifest import listed
from quantlab.metrics.label_files import read_labels
from quantlab.report.artefacts import read_artefacts
from quantlab.storage.cache_sidecar import read_sidecar
from quantlab.storage.files import load
from quantlab.storage.run_history import history
from quantlab.storage.yaml_text import read_yaml


def read_folder(data: bytes, folder: Path) -> object:
    """Make what the text lists below the folder, and call the reader that it names."""
    try:
        wish = json.loads(data)
        reader = READERS[wish["read"]]
        at = _within(folder, wish["at"])
        for name, content in wish["files"].items():
            _make(_within(folder, name), content)
        options = {str(name): value for name, value in wish.get("options", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError, RecursionError, binascii.Error):
        return None  # no wish that can be fulfilled
    return reader(at, options)


def _within(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or len(name) > 200:
        raise ValueError(name)
    return folder / parts


def _make(path: Path, content: str | Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_bytes(base64.b64decode(content, validate=True))
    elif "link" in content:
        path.symlink_to(content["link"])
    elif "pipe" in content:
        os.mkfifo(path)
    elif "size" in content:  # a file of zeros that takes no space
        with path.open("wb") as file:
            file.truncate(int(min(content["size"], 2**40)))
    else:
        path.mkdir(exist_ok=True)


def _images(at: Path, options: Mapping[str, Any]) -> None:
    pattern = options.get("label_pattern")
    found = images(
        at,
        preprocess=Preprocess(resize=8, crop=(8, 8)),
        label_pattern=pattern if isinstance(pattern, str) else None,
        skip_bad=bool(options.get("skip_bad")),
    )
    for batch in found:
        sum(values.size for values in batch.values())
    found.identity  # noqa: B018 - reads the files again
    list(found.pictures([0, 1]))


def _arrays(at: Path, options: Mapping[str, Any]) -> None:
    declared, label = options.get("preprocess"), options.get("label")
    preprocess = None if declared is None else Preprocess.from_json(declared)
    found = arrays(at, preprocess=preprocess, batch=4, label=label if isinstance(label, str) else "label")
    for batch in found:
        sum(values.size for values in batch.values())
    list(found.pictures([0, 1]))


def _columns(at: Path, _options: Mapping[str, Any]) -> None:
    for column in read_columns(at).values():
        if column.shape:
            list(column.blocks(4096, 1 if column.shape[0] > 1 else 0))


def _history(at: Path, _options: Mapping[str, Any]) -> None:
    history(at)._repr_html_()


READERS: Mapping[str, Callable[[Path, Mapping[str, Any]], object]] = {
    "images": _images,
    "arrays": _arrays,
    "columns": _columns,
    "model": lambda at, _options: load_model(at),
    "yaml": lambda at, _options: read_yaml(at),
    "labels": lambda at, _options: read_labels(at),
    "artefact": lambda at, _options: load(at),
    "sidecar": lambda at, _options: read_sidecar(at),
    "history": _history,
    "manifest": lambda at, _options: (read_artefacts(at), listed(at)),
}


def wish(read: str, at: str, files: Mapping[str, bytes | Mapping[str, Any]], **options: Any) -> bytes:
    """Return the JSON text of a folder."""
    listed_files = {
        name: base64.b64encode(content).decode() if isinstance(content, bytes) else dict(content)
        for name, content in files.items()
    }
    return json.dumps({"read": read, "at": at, "files": listed_files, "options": options}).encode()
