"""The ONNX Runtime bundle: an INT8 model, its scales, and an example that runs it with its preprocessing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL

from quantlab.calibration.provenance import DataIdentity
from quantlab.data import Preprocess
from quantlab.deploy.bundle import Bundle, write_bundle
from quantlab.deploy.embedded_text import plain_text
from quantlab.deploy.folder import put
from quantlab.deploy.plan_programs import template
from quantlab.deploy.tensor_specs import ends_of_model
from quantlab.deploy.verify import EXAMPLE, Verified, verify
from quantlab.errors import InputError
from quantlab.graph.model import Model, write_model
from quantlab.storage.text import read_text, write_text
from quantlab.versions import versions

MODEL, SCALES, LABELS = "model.ort.onnx", "scales.json", "labels.txt"
_LARGEST_LABELS = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOnnxRuntime:
    """What goes into a bundle.

    Attributes
    ----------
    name
        What to call it.
    model
        The INT8 model.
    scales
        The scale table (.json) behind it.
    preprocess
        What happens to an image before the network sees it; None: its input is given as it is.
    labels
        A text file with a class name a line.
    chosen_on
        The sets of samples that had a say in the scales.
    notes
        What a user should know.
    """

    name: str
    model: Model
    scales: Path | None = None
    preprocess: Preprocess | None = None
    labels: Path | None = None
    chosen_on: tuple[DataIdentity, ...] = ()
    notes: tuple[str, ...] = ()


def write_onnxruntime(folder: Path, parts: ForOnnxRuntime, *, force: bool = False) -> tuple[Verified, bool]:
    """Write the bundle's folder; return what was checked, and whether it was made (False: it was there).

    Raises
    ------
    QuantlabError
        InputError for files that cannot be used, or an example that fails; StaleError as `put` tells.
    """
    runs = ends_of_model(parts.model).runtime
    settings: Mapping[str, Any] = {
        "preprocess": None if parts.preprocess is None else parts.preprocess.to_json(),
        "pillow": int(PIL.__version__.partition(".")[0]),  # whose resize the example repeats
    }
    files = {"model": MODEL, "example": EXAMPLE}
    files |= {"scales": SCALES} if parts.scales is not None else {}
    files |= {"labels": LABELS} if parts.labels is not None else {}
    bundle = Bundle(
        kind="onnxruntime",
        name=parts.name,
        target=runs,
        model=parts.model.digest,
        model_name=parts.model.name,
        files=files,
        settings=settings,
        chosen_on=parts.chosen_on,
        versions=versions(runs),
        notes=parts.notes,
    )

    def fill(place: Path) -> None:
        write_model(parts.model, place / MODEL)
        write_text(place / EXAMPLE, template(EXAMPLE))
        write_text(place / "README.txt", _readme(bundle))
        if parts.labels is not None:
            write_text(place / LABELS, read_text(parts.labels, "a file of labels", largest=_LARGEST_LABELS))
        if parts.scales is not None:
            if parts.scales.suffix.lower() != ".json":
                raise InputError(f"'{parts.scales}': a bundle holds its scale table as .json.")
            shutil.copyfile(parts.scales, place / SCALES)
        write_bundle(place, bundle)

    found = list[Verified]()
    made = put(folder, fill, lambda place: found.append(verify(place)), force=force)
    return replace(found[0], folder=folder), made


def _readme(bundle: Bundle) -> str:
    notes = "".join(f"- {plain_text(note)}\n" for note in bundle.notes)
    steps = bundle.settings["preprocess"]
    how = (
        "none: give arrays as the network takes them"
        if steps is None
        else ", ".join(f"{k} {v}" for k, v in steps.items())
    )
    return (
        f"{bundle.name}: an INT8 network for ONNX Runtime\n\n"
        f"Made from {plain_text(bundle.model_name)}, tried with {bundle.target}.\n"
        "pip install numpy onnxruntime, then:\n"
        "  python3 run.py photo.ppm          (other images with Pillow)\n"
        "  python3 run.py array.npy\n\n"
        f"Preprocessing, which run.py does: {how}\n"
        + (f"\nNotes:\n{notes}" if notes else "")
        + "\nWhere it comes from: bundle.json. Check by hand: sha256sum -c SHA256SUMS; with quantlab: quantlab deploy verify .\n"
    )
