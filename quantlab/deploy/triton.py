"""A Triton model repository: `<name>/config.pbtxt`, `<name>/1/model.plan` or `model.onnx`, and what says where they come from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.deploy.bundle import Bundle, write_bundle
from quantlab.deploy.folder import put
from quantlab.deploy.names import sanitized
from quantlab.deploy.serving import LABELS, Served, Serving, batched, config_fields
from quantlab.deploy.tensor_specs import Ends, ends_of_model, ends_of_plan, profiles_of
from quantlab.deploy.triton_schema import render_config
from quantlab.deploy.verify import Verified, verify
from quantlab.engines.tensorrt.plan import Plan, card_path, read_plan
from quantlab.errors import InputError, UsageError
from quantlab.graph.metadata import chosen_on
from quantlab.graph.model import Model, write_model
from quantlab.storage.text import read_text, write_bytes, write_text
from quantlab.versions import versions

CONFIG = "config.pbtxt"
_VERSION = "1"
_LARGEST_LABELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Labels:
    """Class names of an output: the text file with one a line, and the output; None is the only one."""

    path: Path
    output: str | None = None


def write_triton(
    repository: Path,
    source: Path | Model,
    *,
    serving: Serving,
    model: Model | None = None,
    labels: Labels | None = None,
    force: bool = False,
) -> tuple[Verified, bool]:
    """Put a plan (a path) or an ONNX model into a Triton model repository; return what was checked, and whether it was made.

    Parameters
    ----------
    repository
        The folder that Triton's --model-repository names; other models in it stay.
    source
        A plan with its card beside it, or a model.
    serving
        Batching, instances, name.
    model
        What a plan was built from: tells its inputs and outputs where no TensorRT can.
    labels
        Class names.
    force
        Replace another model of that name.

    Raises
    ------
    QuantlabError
        UsageError for what the network cannot do, InputError for files that cannot be used, StaleError for a plan that
        changed or is of another model, MachineError without tritonclient, or where nothing tells a plan's inputs.
    """
    if isinstance(source, Model):
        name = serving.name or sanitized(Path(source.name).stem)
        ends = ends_of_model(source)
        served = Served("onnxruntime_onnx", ends.inputs, ends.outputs)
        bundle = _bundle_of_model(source, name, served, ends.runtime)
        files: tuple[Model | Plan, Path | None] = (source, None)
    else:
        plan = read_plan(source)
        name = serving.name or sanitized(source.stem)
        served = _served_plan(plan, model)
        bundle = _bundle_of_plan(plan, name)
        files = (plan, source)
    texts = {} if labels is None else {LABELS: _label_text(labels, served)}
    if labels is not None:
        served = replace(served, labels={_labelled(labels, served): LABELS})
        bundle = replace(bundle, files={**bundle.files, "labels": LABELS})
    texts[CONFIG] = render_config(config_fields(served, replace(serving, name=name)))

    def fill(folder: Path) -> None:
        _fill(folder, *files)
        for place, text in texts.items():
            write_text(folder / place, text)
        write_bundle(folder, bundle)

    folder, found = repository / name, list[Verified]()
    made = put(
        folder,
        fill,
        lambda place: found.append(verify(place, model=model)),
        force=force,
        workshop=_workshop(repository),
    )
    return replace(found[0], folder=folder), made


def _workshop(repository: Path) -> Path:
    """Return a folder on the repository's disk and, where that can be, outside: Triton takes each folder inside for a model."""
    repository.mkdir(parents=True, exist_ok=True)
    inside, outside = repository.resolve(), repository.resolve().parent
    same_disk = inside.stat().st_dev == outside.stat().st_dev
    return outside if same_disk and os.access(outside, os.W_OK) else inside


def _fill(folder: Path, what: Model | Plan, source: Path | None) -> None:
    (folder / _VERSION).mkdir()
    if isinstance(what, Model):
        write_model(what, folder / _VERSION / "model.onnx")
    elif source is not None:
        write_bytes(folder / _VERSION / "model.plan", what.data)
        shutil.copyfile(card_path(source), folder / _VERSION / "model.plan.json")


def _served_plan(plan: Plan, model: Model | None) -> Served:
    card = plan.card
    if card.library != "tensorrt":
        raise UsageError(
            "Triton runs plans of TensorRT, and this one is of TensorRT-RTX: build it with --library tensorrt."
        )
    if card.stripped:
        raise InputError(
            "The plan was built without its weights (--strip), which Triton does not give back: build it without."
        )
    ends: Ends = ends_of_plan(plan, model)
    return Served("tensorrt_plan", ends.inputs, ends.outputs, profiles_of(card))


def _bundle_of_model(model: Model, name: str, served: Served, runs: str) -> Bundle:
    return Bundle(
        kind="triton",
        name=name,
        target="triton onnxruntime_onnx",
        model=model.digest,
        model_name=model.name,
        files={"config": CONFIG, "model": f"{_VERSION}/model.onnx"},
        chosen_on=chosen_on(model),
        versions=versions(runs),
        notes=() if batched(served) else (_UNBATCHED,),
    )


_UNBATCHED = "Not every input and output begins with one free batch dimension, so Triton joins no requests unless the largest batch is named."


def _bundle_of_plan(plan: Plan, name: str) -> Bundle:
    card = plan.card
    on = f" on {card.device} (compute capability {card.compute_capability})" if card.device else ""
    notes = [f"The server must run TensorRT {card.version}{on}: a plan belongs to what built it."]
    if card.version_compatible or card.hardware_compatible:
        notes = [f"The plan was built by TensorRT {card.version}{on}."]
    if card.plugins:
        notes.append(f"The server must load the plugin libraries {', '.join(card.plugins)} before the model.")
    smallest = max((s[0][0] for p in profiles_of(card) for s in p.shapes.values() if s[0]), default=1)
    if smallest > 1:
        notes.append(f"The plan takes no batch below {smallest}: requests of fewer samples fail.")
    return Bundle(
        kind="triton",
        name=name,
        target=f"triton tensorrt_plan {card.version}",
        model=card.model,
        model_name=card.model_name,
        files={"config": CONFIG, "plan": f"{_VERSION}/model.plan", "card": f"{_VERSION}/model.plan.json"},
        chosen_on=card.chosen_on,
        versions=versions(),
        notes=tuple(notes),
    )


def _labelled(labels: Labels, served: Served) -> str:
    names = list(served.outputs)
    if labels.output is None and len(names) > 1:
        raise UsageError(f"The network has the outputs {', '.join(names)}: name the one that the labels are of.")
    output = labels.output or names[0]
    if output not in served.outputs:
        raise UsageError(f"The network has no output «{output}»; its outputs are {', '.join(names)}.")
    return output


def _label_text(labels: Labels, served: Served) -> str:
    text = read_text(labels.path, "a file of labels", largest=_LARGEST_LABELS).removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    shape: Mapping[str, tuple[int | str | None, ...]] = {n: s.shape for n, s in served.outputs.items()}
    last = (shape[_labelled(labels, served)] or (None,))[-1]
    if isinstance(last, int) and last != len(lines):
        raise InputError(f"'{labels.path}' has {len(lines)} labels, and the output {last} classes: give one a line.")
    return "\n".join(lines) + "\n"
