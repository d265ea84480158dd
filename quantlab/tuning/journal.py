"""What a search has done so far, in a folder: stopped at any point, it goes on there and ends with the same table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from quantlab.atomic import atomic_path
from quantlab.builder import QuantizeOptions
from quantlab.calibration.weight_methods import SquaredErrorWeights
from quantlab.errors import InputError, StaleError
from quantlab.graph.model import load_model, write_model
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table
from quantlab.storage.text import read_text
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.trial import Trial

_SCHEMA = "quantlab-tuning-journal"
_VERSION = 2
FILE = "journal.json"

TARGET = "what may be lost"
"""The entry of what is asked that other trials than those of `_TARGETED` do not depend on."""

_TARGETED = frozenset({"mixed precision", "sensitivity", "all samples"})
"""Rungs that look for what the target asks."""


class Journal:
    """Trials, the candidates among them that were kept, and rows of longer measurements; written anew after each.

    Parameters
    ----------
    folder
        Made if need be; None keeps nothing.
    asked
        What decides the search: digests and options, as JSON values.
    options
        What candidates start from.
    fresh
        Forget what is there.

    Raises
    ------
    StaleError
        When the folder holds another search; the same with another target goes on.
    MachineError
        When it cannot be written.
    InputError
        When its journal cannot be read.
    """

    def __init__(
        self, folder: Path | None, asked: dict[str, Any], options: QuantizeOptions, *, fresh: bool = False
    ) -> None:
        self._folder, self._asked, self._options = folder, json.loads(json.dumps(asked)), options
        self._trials: dict[tuple[str, str], Trial] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        if folder is None:
            return
        if not fresh and (folder / FILE).exists():
            self._read(folder / FILE)
        else:
            self._save(folder)  # a folder that cannot be written is told of now, and what was there is forgotten

    def known(self, rung: str, label: str) -> Trial | None:
        """Return a trial that is done already."""
        return self._trials.get((rung, label))

    def candidate(self, trial: Trial) -> Candidate:
        """Return what a kept trial made.

        Raises
        ------
        StaleError
            When its files are gone, damaged or another candidate's.
        """
        assert self._folder is not None  # without a folder no trial is known
        named = f"What «{trial.rung}: {trial.label}» made"
        try:
            entry = self._kept[trial.key]
            found = self._candidate(self._folder, entry)
            same = self._digests(found) == entry["digests"]
        except (KeyError, TypeError, InputError) as error:
            raise StaleError(
                f"{named} cannot be read again in '{self._folder}' ({error}): search anew with --force."
            ) from error
        if not same:
            raise StaleError(f"{named} has been overwritten in '{self._folder}': search anew with --force.")
        return found

    def add(self, trial: Trial, candidate: Candidate | None) -> None:
        """Note a trial, and what it made if that was kept."""
        if self._folder is None:
            return
        if candidate is not None:
            self._kept[trial.key] = self._write(self._folder, candidate, len(self._kept))
        self._trials[trial.key] = trial
        self._save(self._folder)

    def rows(self, name: str) -> dict[str, Any]:
        """Return the rows of a measurement that are known."""
        return dict(self._rows.get(name, {}))

    def add_row(self, name: str, key: str, value: Any) -> None:
        """Note a row of a measurement: JSON values."""
        if self._folder is not None:
            self._rows.setdefault(name, {})[key] = value
            self._save(self._folder)

    def _candidate(self, folder: Path, entry: dict[str, Any]) -> Candidate:
        place = folder / str(entry["number"])
        exact = place.with_suffix(".exact.onnx")
        options = replace(
            self._options,
            keep_float=tuple(entry["keep_float"]),
            weight_method=SquaredErrorWeights() if entry["squared_error_weights"] else self._options.weight_method,
        )
        return Candidate(
            load_model(place.with_suffix(".onnx")),
            read_scale_table(place.with_suffix(".scales.json")),
            options,
            load_model(exact) if entry["exact"] else None,
        )

    @staticmethod
    def _digests(candidate: Candidate) -> list[str]:
        rows = [(r.tensor, r.scale, r.zero_point, r.axis, r.role, r.dtype) for r in candidate.table.rows]
        scales = hashlib.blake2b(repr(rows).encode(), digest_size=16).hexdigest()
        return [scales, *(model.digest for model in (candidate.model, candidate.exact) if model is not None)]

    def _write(self, folder: Path, candidate: Candidate, number: int) -> dict[str, Any]:
        place = folder / str(number)
        write_model(candidate.model, place.with_suffix(".onnx"))
        write_scale_table(place.with_suffix(".scales.json"), candidate.table)
        if candidate.exact is not None:
            write_model(candidate.exact, place.with_suffix(".exact.onnx"))
        return {
            "number": number,
            "keep_float": list(candidate.options.keep_float),
            "squared_error_weights": candidate.options.weight_method != self._options.weight_method,
            "exact": candidate.exact is not None,
            "digests": self._digests(candidate),
        }

    def _save(self, folder: Path) -> None:
        document = {
            "schema": _SCHEMA,
            "version": _VERSION,
            "asked": self._asked,
            "trials": [asdict(trial) for trial in self._trials.values()],
            "kept": [{"key": list(key), **entry} for key, entry in self._kept.items()],
            "rows": self._rows,
        }
        with atomic_path(folder / FILE) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def _read(self, path: Path) -> None:
        try:
            document = json.loads(read_text(path, "a search's journal"))
            if document["schema"] != _SCHEMA or document["version"] != _VERSION:
                raise StaleError(f"'{path}' is of another version of quantlab: search anew with --force, or elsewhere.")
            begun = document["trials"] or document["rows"]
            keys = {*self._asked, *document["asked"]}
            other = sorted(key for key in keys if document["asked"].get(key) != self._asked.get(key))
            if begun and set(other) - {TARGET}:
                raise StaleError(
                    f"'{path}' is of another search ({', '.join(other) or 'other inputs'} changed): search anew with --force, "
                    "or give another folder."
                )
            trials = TypeAdapter(tuple[Trial, ...]).validate_json(json.dumps(document["trials"]))
            self._trials = {trial.key: trial for trial in trials if not other or trial.rung not in _TARGETED}
            self._kept = {(e["key"][0], e["key"][1]): e for e in document["kept"]}
            self._rows = document["rows"]
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            RecursionError,
            InputError,
        ) as error:
            raise InputError(f"The journal '{path}' cannot be read ({error}): search anew with --force.") from error
