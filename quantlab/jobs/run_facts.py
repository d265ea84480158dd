"""What made the files of a run folder, as its manifest keeps it, and whether they are still as they were made."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from quantlab.data import Dataset
from quantlab.data.stream import Stream
from quantlab.engines.cpu import instruction_set, processor
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.jobs.command_line import command_line
from quantlab.jobs.data_source import script_of
from quantlab.jobs.job import Job
from quantlab.jobs.manifest_file import NAME, read_manifest
from quantlab.jobs.output_lock import unfinished_in
from quantlab.storage.file_digest import file_digest
from quantlab.versions import versions
from quantlab.workers.store import is_remote

_PACKAGES = ("onnxruntime", "onnx", "numpy", "pillow")
_PATHS = ("model", "output", "overrides", "history")


def facts_of(job: Job, model: Model, data: Mapping[str, Dataset]) -> dict[str, Any]:
    """Return what decides a run, as JSON values; the time is not among it, so the same run has the same facts."""
    resolved = resolved_job(job, job.output)
    settings = {key: value for key, value in resolved.items() if key not in (*_PATHS, "data", "workers")}
    return {
        "command": list(command_line()),
        "job": resolved,
        "configuration": _digest(settings),
        "model": model.digest,
        "data": digests_of(data),
        "preprocessing": {
            name: _digest(source.preprocess.to_json()) for name, source in job.sources.items() if source.preprocess
        },
        "files": {role: file_digest(path) for role, path in files_of(job).items()},
        "seed": job.qat.seed if job.qat else 0,
        "machine": {
            "processor": processor(),
            "instruction_set": instruction_set(),
            "system": platform.system(),
        },
        "versions": versions(*(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))),
    }


def digests_of(data: Mapping[str, Dataset]) -> dict[str, str]:
    """Return the digest of each opened set; one that only a full pass tells has none before it."""
    known = {name: found for name, found in data.items() if not isinstance(found, Stream) or found.is_known}
    return {name: found.identity.digest for name, found in known.items()}


def changes_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what decides bits, is in no recipe and is other than in a run before: «onnxruntime 1.20.1 → 1.31.1»; often nothing."""
    named = {name: ("versions", name) for name in ("quantlab", "onnxruntime")} | {"CPU": ("machine", "instruction_set")}
    found = [
        f"{name} {then} → {new}"
        for name, (section, key) in named.items()
        if (then := before.get(section, {}).get(key)) is not None and then != (new := now[section].get(key))
    ]
    return ", ".join(found)


def files_of(job: Job) -> dict[str, Path]:
    """Return the files beside model and data that have a say in a job's result, by their roles; those that are there."""
    section = job.qat
    named: dict[str, Path | None] = {"overrides": job.overrides}
    for name, source in job.sources.items():
        named[f"labels of {name}"] = None if source.labels is None or is_remote(source.labels) else Path(source.labels)
        named[f"script of {name}"] = script_of(source)
    if section is not None:
        functions = {"augment": section.augment, "loss": section.loss}
        named |= {"module": section.file, "state dict": section.weights}
        named |= {role: section.located(text)[0] for role, text in functions.items() if text is not None}
    return {role: path for role, path in named.items() if path is not None and path.is_file()}


def resolved_job(job: Job, folder: Path) -> dict[str, Any]:
    """Return every field of a job as JSON values; the paths of files are relative to a folder, those of data as given."""
    fields: dict[str, Any] = job.model_dump(mode="json")
    for name in _PATHS:
        if fields.get(name) is not None:
            fields[name] = Path(os.path.relpath(fields[name], folder)).as_posix()
    return fields


def verified(folder: Path) -> tuple[str, ...]:
    """Return what is wrong with the files of a run folder: sentences, none if each is as it was made.

    Raises
    ------
    InputError
        When the folder has no manifest, or a damaged one.
    """
    found = read_manifest(folder)
    if found.is_empty:
        raise InputError(f"'{folder}' has no {NAME} that quantlab wrote: give the output folder of `quantlab run`.")
    unfinished = unfinished_in(folder)
    wrong = [f"'{path}' was not finished, or is being made now: run the job again." for path in unfinished]
    for name, entry in found.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"The manifest names '{name}', which lies outside of the folder: do not trust it.")
        elif not path.is_file():
            wrong.append(f"'{path}' is missing: run the job again.")
        elif path not in unfinished and file_digest(path) != entry.sha256:
            wrong.append(f"'{path}' is not as it was made: run the job again with --force.")
    return tuple(wrong)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
