"""Checks a bundle as whoever receives it would: every checksum, and each part loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.calibration.trt_cache import parse_cache
from quantlab.data import Preprocess
from quantlab.deploy.agreement import check_agreeing
from quantlab.deploy.bundle import NAME as BUNDLE
from quantlab.deploy.bundle import Bundle, read_bundle
from quantlab.deploy.checksums import NAME as SUMS
from quantlab.deploy.checksums import check_sums, file_at, files_in
from quantlab.deploy.example import try_example
from quantlab.deploy.names import folder_name
from quantlab.deploy.plan_programs import template
from quantlab.deploy.serving import tensor_fields
from quantlab.deploy.tensor_specs import Ends, ends_of_model, ends_of_plan, foreign_domains
from quantlab.deploy.triton_schema import parse_config, render_config
from quantlab.engines.tensorrt.plan import read_plan
from quantlab.errors import InputError, MachineError, StaleError
from quantlab.graph.metadata import provenance_of
from quantlab.graph.model import Model, load_model
from quantlab.graph.view import Graph
from quantlab.storage.calibration_cache import check_cache
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.storage.text import read_text

EXAMPLE = "run.py"
_LARGEST_TEXT = 1 << 24


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle that holds.

    Attributes
    ----------
    folder, bundle
        Where it lies, and what it says of itself.
    files
        The files whose checksums are right.
    checks
        What was done besides, a sentence each.
    notes
        What could not be checked here.
    """

    folder: Path
    bundle: Bundle
    files: tuple[str, ...]
    checks: tuple[str, ...]
    notes: tuple[str, ...]


def verify(folder: Path, *, model: Model | None = None) -> Verified:
    """Check a bundle; nothing in it is run but an example that is quantlab's own, byte for byte.

    Parameters
    ----------
    folder
        The bundle's.
    model
        What a plan was built from, where it is at hand: its inputs and outputs are then compared without a GPU too.

    Raises
    ------
    StaleError
        When a file was changed, or parts do not belong together.
    InputError
        When a file is missing or damaged, or a part does not load.
    MachineError
        Without tritonclient, for a Triton folder.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}': give one that `quantlab deploy` made.")
    if not (folder / BUNDLE).is_file():
        raise InputError(f"'{folder}' is no bundle of quantlab: it has no {BUNDLE}.")
    files = check_sums(folder)
    bundle = read_bundle(folder)
    unlisted = [name for name in (BUNDLE, *bundle.files.values()) if name not in files]
    if unlisted:
        raise InputError(f"'{folder / SUMS}' does not list '{unlisted[0]}': deploy again.")
    checking = _Checking(folder, bundle, model)
    checks = tuple(
        {"triton": checking.triton, "embedded": checking.embedded, "onnxruntime": checking.ort}[bundle.kind]()
    )
    more = sorted(set(files_in(folder)) - set(files))
    if more:
        checking.notes.append(
            f"{len(more)} files are not the bundle's: {', '.join(more[:4])}{' …' if more[4:] else ''}."
        )
    return Verified(folder, bundle, files, checks, tuple(checking.notes))


class _Checking:
    """One check of a folder whose checksums are right."""

    def __init__(self, folder: Path, bundle: Bundle, model: Model | None) -> None:
        self.folder, self.bundle, self.model = folder, bundle, model
        self.notes: list[str] = []

    def triton(self) -> Iterator[str]:
        path = self._file("config")
        fields = parse_config(read_text(path, "a model configuration", largest=_LARGEST_TEXT))
        called = folder_name(self.folder)
        if fields.get("name") != called and not called.startswith("."):
            raise InputError(f"'{path}' calls the model «{fields.get('name')}», and Triton wants its folder's name.")
        platform = "tensorrt_plan" if "plan" in self.bundle.files else "onnxruntime_onnx"
        if fields.get("platform") != platform or "backend" in fields:
            raise StaleError(f"'{path}' does not serve the network as {platform}: deploy again.")
        self._check_versions()
        yield "config.pbtxt was read by Triton's schema"
        ends = self._plan_ends() if "plan" in self.bundle.files else ends_of_model(self._model())
        if ends is not None:
            self._check_config(fields, ends)
            yield f"its tensors are those that {ends.runtime} tells"

    def embedded(self) -> Iterator[str]:
        model = self._model()
        yield "the model is the one that the bundle names"
        domains = foreign_domains(model.proto)
        if domains:
            self.notes.append(f"ONNX Runtime did not load the model: it has operators of «{domains[0]}».")
        else:
            yield f"{ends_of_model(model).runtime} loads it"
        table = read_scale_table(self._file("scales")) if "scales" in self.bundle.files else None
        if "cache" in self.bundle.files:
            path = self._file("cache")
            check_cache(path, model.digest)
            cache = parse_cache(read_text(path, "a calibration cache"))
            known = _tensors(model)
            if known.isdisjoint(cache.scales):
                raise StaleError(f"'{path}' has a scale for no tensor of the model: it is of another one.")
            yield f"the cache has {len(known & set(cache.scales))} of the model's tensors"
            if table is not None:
                check_agreeing(cache, table)
                yield "cache and scale table agree"
        if table is not None:
            self._check_table(table.provenance.model if table.provenance else None, model)

    def ort(self) -> Iterator[str]:
        model = self._model()
        yield f"{ends_of_model(model).runtime} loads the model"
        if "scales" in self.bundle.files:
            table = read_scale_table(self._file("scales"))
            self._check_table(table.provenance.model if table.provenance else None, model)
            yield "the scale table is of the model"
        program = self._file("example")
        if read_text(program, "the example", largest=_LARGEST_TEXT) != template(EXAMPLE):
            self.notes.append(f"{EXAMPLE} is not as this quantlab writes it, so it was not run.")
            return
        steps = self.bundle.settings.get("preprocess")
        preprocess = None if steps is None else Preprocess.from_json(steps)
        yield try_example(program, model, preprocess)

    def _file(self, role: str) -> Path:
        name = self.bundle.files.get(role)
        if name is None:
            raise InputError(f"'{self.folder / BUNDLE}' names no {role}: deploy again.")
        return file_at(self.folder, name)

    def _model(self) -> Model:
        path = self._file("model")
        model = load_model(path)
        if model.digest != self.bundle.model:
            raise StaleError(
                f"'{path}' is not the model that {BUNDLE} names ({self.bundle.model[:19]}…): deploy again."
            )
        return model

    def _plan_ends(self) -> Ends | None:
        plan = read_plan(self._file("plan"))
        if plan.card.model != self.bundle.model:
            raise StaleError(f"The plan is of another model than {BUNDLE} names: deploy again.")
        try:
            return ends_of_plan(plan, self.model)
        except MachineError as error:
            self.notes.append(f"The plan was not loaded, only its card was checked: {str(error).rstrip('.')}.")
            return None

    def _check_config(self, fields: dict[str, Any], ends: Ends) -> None:
        """Refuse tensors other than the network's; read back by the schema, both sides have one form."""
        largest = int(fields.get("max_batch_size", 0))
        both = {"input": ends.inputs.values(), "output": ends.outputs.values()}
        if largest and any(not s.shape or isinstance(s.shape[0], int) for side in both.values() for s in side):
            raise StaleError("config.pbtxt joins requests, and the network has no free batch: deploy again.")
        wanted = {
            side: [tensor_fields(fields["platform"], spec, batched=largest > 0) for spec in specs]
            for side, specs in both.items()
        }
        for side, tensors in parse_config(render_config(wanted)).items():
            found = [{k: v for k, v in tensor.items() if k != "label_filename"} for tensor in fields.get(side, [])]
            if found != tensors:
                raise StaleError(f"The {side}s in config.pbtxt are not those of the network: deploy again.")

    def _check_versions(self) -> None:
        """Refuse versions of the network that are not the bundle's: Triton serves the one with the highest number."""
        own = {name.split("/")[0] for name in self.bundle.files.values() if "/" in name}
        more = [path for path in sorted(self.folder.iterdir()) if path.name.isdigit() and path.name not in own]
        if more:
            raise InputError(f"'{more[0]}' is not the bundle's, and Triton would serve it as a version: move it away.")

    def _check_table(self, made_for: str | None, model: Model) -> None:
        known = provenance_of(model)
        own = known.model if known is not None else model.digest
        if made_for is not None and made_for != own:
            raise StaleError(
                f"The scale table was made for another model ({made_for[:19]}…) than the bundle's ({own[:19]}…)."
            )


def _tensors(model: Model) -> set[str]:
    graph = Graph(model.proto)
    return {i.name for i in model.proto.graph.input} | {name for node in graph.nodes for name in node.output}
