"""What else may lie in a run's folder: searches, trainings, audits, diagnoses, lineups, samples, class names, models.

`tune.json`, in the folder itself, in `tuned` or in `tune`; the training's `report.json`, in the folder itself or in `qat`; and beside
the rest `audit.json` (`quantlab inspect plan … --json`), `diagnosis.json` (`quantlab diagnose … -o`), `lineup.json` (`quantlab compare` of
several engines), the comparison's samples, `classes.txt` (a name a line) and `model.int8.onnx`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from quantlab.audit.audit import Audit
from quantlab.comparison.lineup import Lineup
from quantlab.diagnosis.diagnosis import Diagnosis
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.report.artefacts import read_artefacts
from quantlab.report.precision import Precision
from quantlab.report.run_parts import RunParts
from quantlab.report.searched import TRAINED, Training, read_search, read_training
from quantlab.storage.text import located, read_text

TRAINING, SEARCH, MODEL = "report.json", "tune.json", "model.int8.onnx"
AUDIT, DIAGNOSIS, LINEUP, CLASSES = "audit.json", "diagnosis.json", "lineup.json", "classes.txt"
_MOST_CLASSES = 100_000


class _Read(Protocol):
    @classmethod
    def from_json(cls, value: object) -> Any: ...


Form = TypeVar("Form", bound=_Read)


def is_training(folder: Path) -> bool:
    """Tell whether a folder is one that `quantlab qat` left: its `report.json` is a training's."""
    path = folder / TRAINING
    return path.is_file() and f'"{TRAINED}"' in read_text(path, "a report")[:200]


def with_extras(parts: RunParts, folder: Path, class_names: Path | None = None) -> RunParts:
    """Return the parts with all that lies beside them.

    Raises
    ------
    InputError
        When one of these files is damaged, foreign or of a newer version.
    """
    search = _first(folder, (SEARCH, f"tuned/{SEARCH}", f"tune/{SEARCH}", "tuned.json", "qat/tuned.json"))
    training = folder / "qat" if is_training(folder / "qat") else None
    found = replace(
        parts,
        search=read_search(search) if search else None,
        training=read_training(training / TRAINING) if training else parts.training,
        audit=_audit(folder / AUDIT),
        diagnosis=read_form(path, Diagnosis, "a diagnosis") if (path := folder / DIAGNOSIS).exists() else None,
        lineup=read_form(path, Lineup, "a table of engines") if (path := folder / LINEUP).exists() else None,
        class_names=read_class_names(class_names or folder / CLASSES, given=class_names is not None),
        artefacts=read_artefacts(folder),
    )
    precision = _precision(found, folder)
    shares = _shares(found.training, training or folder)
    own = {} if precision is None or precision.coverage is None else {"": precision.coverage}
    return replace(found, precision=precision, coverages=shares | own)


def read_form(path: Path, kind: type[Form], what: str) -> Form:
    """Return a value that knows its own JSON.

    Raises
    ------
    InputError
        When the file is damaged, foreign or of another version, naming it.
    """
    text = read_text(path, what)
    with located(f"'{path}'"):
        value: Form = kind.from_json(text)
    return value


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((path for name in names if (path := folder / name).is_file()), None)


def _audit(path: Path) -> Audit | None:
    """Return an audit, as such or inside what `inspect plan --json` prints."""
    if not path.exists():
        return None
    text = read_text(path, "an audit")
    with located(f"'{path}'"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The audit is no JSON: {error}.") from error
        printed = isinstance(found, Mapping) and "schema" not in found and isinstance(found.get("audit"), Mapping)
        return Audit.from_json(found["audit"] if printed else text)


def _precision(parts: RunParts, folder: Path) -> Precision | None:
    best = (
        next((rung.model for rung in parts.training.rungs if rung.rung == parts.training.best), "")
        if parts.training
        else ""
    )
    path = folder / (best if parts.training_is_result else MODEL)
    if not path.is_file() or path.parent != folder:
        return None
    wished = dict.fromkeys(parts.search.keep_float if parts.search else (), "stays in float by wish of the search")
    return Precision.of_model(load_model(path), {**wished, **parts.floats})


def _shares(training: Training | None, folder: Path) -> dict[str, float]:
    """Return the share of the work on integers of each rung's model that is there."""
    found = {}
    for rung in training.rungs if training else ():
        path = folder / rung.model
        if path.is_file() and path.parent == folder:
            share = Precision.of_model(load_model(path)).coverage
            if share is not None:
                found[rung.model] = share
    return found


def read_class_names(path: Path, *, given: bool = False) -> tuple[str, ...]:
    """Return the class names in a file, from class 0; none where there is no such file, unless it was given.

    Raises
    ------
    InputError
        When it cannot be read, or has more lines than any network has classes.
    """
    if not path.is_file():
        if given:
            raise InputError(f"There is no file '{path}' with class names, one a line.")
        return ()
    names = read_text(path, "class names").removeprefix("\ufeff").splitlines()
    if len(names) > _MOST_CLASSES:
        raise InputError(
            f"'{path}' has {len(names):,} lines, more than any network has classes: give a class name a line."
        )
    return tuple(name.strip() for name in names)
