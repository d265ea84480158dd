"""Step: a run folder or explicit files in, a bundle out; parts that do not belong together are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.data import Preprocess
from quantlab.deploy.embedded import write_embedded
from quantlab.deploy.folder import archive
from quantlab.deploy.names import checked_name, folder_name, sanitized
from quantlab.deploy.ort_bundle import ForOnnxRuntime, write_onnxruntime
from quantlab.deploy.serving import Serving
from quantlab.deploy.triton import Labels, write_triton
from quantlab.deploy.verify import Verified, verify
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.errors import UsageError
from quantlab.graph.metadata import chosen_on
from quantlab.graph.model import Model, load_model
from quantlab.jobs.building import SUFFIXES
from quantlab.jobs.deployed_parts import Sources, check_scales, embedded_parts, preprocess_of_sets, settings_of
from quantlab.jobs.step import check_output

_INTEGER = re.compile(r"Quantize|Integer|QLinear|^QGemm|NBits")
"""Operators of which an INT8 model for ONNX Runtime has at least one."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A bundle that was made, or was there with the same bytes.

    Attributes
    ----------
    verified
        What was checked.
    fresh
        Whether it was made.
    archive
        The .tar.gz, where one was asked for.
    """

    verified: Verified
    fresh: bool
    archive: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a bundle goes.

    Attributes
    ----------
    output
        The folder; for Triton the repository, in which the model gets a folder of its own.
    name
        What to call the network; empty: from the file or the job.
    archive
        Also write <output>.tar.gz.
    force
        Replace a bundle that differs.
    """

    output: Path
    name: str = ""
    archive: bool = False
    force: bool = False

    def named(self, otherwise: str) -> str:
        """Return the name asked for, or one from a file's or job's."""
        return checked_name(self.name) if self.name else sanitized(otherwise)


def deploy_triton(
    sources: Sources, target: Target, *, serving: Serving | None = None, labels: Labels | None = None
) -> Deployed:
    """Put a plan or an ONNX model into a Triton model repository.

    Raises
    ------
    QuantlabError
        As `write_triton`; UsageError for scales, which the model or plan has inside.
    """
    if sources.cache is not None or sources.scales is not None:
        raise UsageError(
            "Triton serves a plan or a model, which has its scales inside: leave --cache and --scales out."
        )
    run, asked = sources.run, serving or Serving()
    source: Path | Model
    model = None
    if run is not None:
        source = load_model(run.for_onnx_runtime()[0])
        asked = replace(asked, name=target.named(run.name))
    elif sources.source.suffix.lower() in SUFFIXES:
        source = sources.source
        model = None if sources.model is None else load_model(sources.model)
        asked = replace(asked, name=target.named(source.stem))
    else:
        if sources.model is not None:
            raise UsageError("--model tells what a plan was built from; a model is given as the source.")
        source = load_model(sources.source)
        asked = replace(asked, name=target.named(sources.source.stem))
    done, fresh = write_triton(target.output, source, serving=asked, model=model, labels=labels, force=target.force)
    return _packed(done, target, fresh=fresh)


def deploy_embedded(
    sources: Sources, target: Target, *, version: str | None = None, options: BuildOptions | None = None
) -> Deployed:
    """Write the bundle from which a target builds its plan.

    Parameters
    ----------
    version
        The target's TensorRT; None is what the cache's header says, or 8.6.1. From 11 on a run's Q/DQ model is taken.
    options
        How to build; INT8 by default.

    Raises
    ------
    QuantlabError
        As `write_embedded`, and StaleError for the cache or the scales of another model, or a run's files that were
        changed or belong to an earlier run.
    """
    parts = embedded_parts(sources, version)
    asked = options or BuildOptions(precision=("int8",))
    parts = replace(parts, options=asked, name=target.named(parts.name))
    check_output(target.output, (), sources.source, parts.model.path)
    done, fresh = write_embedded(target.output, parts, force=target.force)
    return _packed(done, target, fresh=fresh)


def deploy_onnxruntime(
    sources: Sources, target: Target, *, preprocess: Preprocess | None = None, labels: Path | None = None
) -> Deployed:
    """Write the bundle for ONNX Runtime.

    Parameters
    ----------
    preprocess
        Instead of the one that the model's provenance tells.

    Raises
    ------
    QuantlabError
        As `write_onnxruntime`, and StaleError for the scales of another model, or a run's files that were changed.
    """
    if sources.cache is not None or (sources.model is not None and sources.run is None):
        raise UsageError("ONNX Runtime takes the INT8 model and its scale table: leave --cache and --model out.")
    run = sources.run
    path, scales = (sources.source, sources.scales) if run is None else run.for_onnx_runtime()
    model = load_model(path)
    sets = chosen_on(model)
    if scales is not None:
        check_scales(scales, model)
    found, notes = (preprocess, ()) if preprocess is not None else preprocess_of_sets(sets)
    aimed_at = settings_of(model).get("target", "ort")
    if aimed_at != "ort":
        notes = (
            *notes,
            f"The Q/DQ were placed for {aimed_at}: ONNX Runtime is quicker with `quantlab quantize --target ort`.",
        )
    if not any(_INTEGER.search(node.op_type) for node in model.proto.graph.node):
        notes = (*notes, f"«{path.name}» has neither Q/DQ nor integer operators: it is served in float.")
    parts = ForOnnxRuntime(
        name=target.named(path.name.split(".")[0] if run is None else run.name),
        model=model,
        scales=scales,
        preprocess=found,
        labels=labels,
        chosen_on=sets,
        notes=notes,
    )
    done, fresh = write_onnxruntime(target.output, parts, force=target.force)
    return _packed(done, target, fresh=fresh)


def verify_folder(folder: Path) -> tuple[Verified, ...]:
    """Check a bundle, or every model of a Triton repository that quantlab put there.

    Raises
    ------
    QuantlabError
        As `verify`.
    """
    inner = sorted(path.parent for path in folder.glob("[!.]*/bundle.json")) if folder.is_dir() else []
    if inner and not (folder / "bundle.json").exists():
        return tuple(verify(path) for path in inner)
    return (verify(folder),)


def _packed(done: Verified, target: Target, *, fresh: bool) -> Deployed:
    if not target.archive:
        return Deployed(done, fresh)
    name = folder_name(done.folder)
    folder = done.folder if done.folder.name == name else done.folder.resolve()
    path = folder.with_name(f"{name}.tar.gz")
    archive(done.folder, path)
    return Deployed(done, fresh, path)
