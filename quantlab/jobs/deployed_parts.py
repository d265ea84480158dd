"""Which files a bundle is made from: a run's, or those that are named; and what they say of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.caches.tensors import check_names
from quantlab.calibration.provenance import DataIdentity, check_made_for
from quantlab.calibration.trt_cache import parse_cache
from quantlab.data import Preprocess
from quantlab.deploy.embedded import Embedded
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.engines.tensorrt.capabilities import parse_version
from quantlab.engines.tensorrt.network import has_qdq
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.metadata import METADATA_KEY, chosen_on, provenance_of
from quantlab.graph.model import Model, load_model
from quantlab.graph.qdq_view import read_scales
from quantlab.jobs.caching import DEFAULT_VERSION
from quantlab.jobs.deployed_run import DeployedRun
from quantlab.jobs.plan_scales import StoredScales, stored_source
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.storage.text import read_text

_QDQ_SINCE = (11, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a bundle is made from.

    Attributes
    ----------
    source
        The output folder of `quantlab run`, a job's YAML file, an ONNX model, or a plan.
    model
        The float model of a run, or what a plan was built from.
    cache, scales
        For a model given as a file.
    """

    source: Path
    model: Path | None = None
    cache: Path | None = None
    scales: Path | None = None

    @property
    def run(self) -> DeployedRun | None:
        """The run, if the source is one.

        Raises
        ------
        QuantlabError
            UsageError for files beside a run that has its own, InputError for a job that cannot be read.
        """
        if not self.source.is_dir() and self.source.suffix.lower() not in (".yaml", ".yml"):
            return None
        if self.cache is not None or self.scales is not None:
            raise UsageError(
                f"'{self.source}' is a run, which has its own cache and scales: leave --cache and --scales out."
            )
        return DeployedRun.of(self.source, self.model)


@dataclass(frozen=True, slots=True)
class _Files:
    """The model and the scales of an embedded bundle."""

    name: str
    model: Path
    cache: Path | None = None
    scales: Path | None = None


def embedded_parts(sources: Sources, version: str | None) -> Embedded:
    """Return what goes into an embedded bundle; its options are still to be set.

    Raises
    ------
    QuantlabError
        As `deploy_embedded`.
    """
    run = sources.run
    if run is None:
        if sources.model is not None:
            raise UsageError("Give the model as the source, or a run with --model.")
        files = _Files(sources.source.name.split(".")[0], sources.source, sources.cache, sources.scales)
    elif version is not None and parse_version(version) >= _QDQ_SINCE:
        files = _Files(run.name, *run.with_qdq())
    else:
        files = _Files(run.name, *run.with_cache())
    model = load_model(files.model)
    return _qdq_parts(files, model, version) if has_qdq(model.proto) else _cache_parts(files, model, version)


def settings_of(model: Model) -> dict[str, Any]:
    """Return what `quantize` noted in a model: target, weights, head; empty for anyone else's.

    Raises
    ------
    InputError
        When the note is damaged.
    """
    texts = [entry.value for entry in model.proto.metadata_props if entry.key == METADATA_KEY]
    try:
        found = json.loads(texts[0]) if texts else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"The model's metadata «{METADATA_KEY}» are damaged: {error}.") from error
    return found if isinstance(found, dict) else {}


def check_scales(path: Path, model: Model) -> None:
    """Refuse a scale table that is not the one behind a model with Q/DQ.

    Raises
    ------
    StaleError
        It was made for another model, or most of its activations have another scale in the Q/DQ. (A few may: tensors
        that a Concat joins share one.)
    """
    table, origin = read_scale_table(path), provenance_of(model)
    check_made_for(table.provenance, origin.model if origin else model.digest, f"the model behind '{model.name}'")
    inside = {row.tensor: row.scale for row in read_scales(model.proto) if row.role != "weight"}
    pairs = [(row.scale, inside[row.tensor]) for row in table.rows if row.tensor in inside and row.role != "weight"]
    other = sum(one != two for one, two in pairs)
    if 2 * other > len(pairs):
        raise StaleError(
            f"'{path}' is not the table behind '{model.name}': {other} of {len(pairs)} tensors have another scale in its "
            "Q/DQ. Give the table that `quantlab quantize` took."
        )


def preprocess_of_sets(sets: tuple[DataIdentity, ...]) -> tuple[Preprocess | None, tuple[str, ...]]:
    """Return the preprocessing that the sets behind a model's scales had, and what to say of it.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    declared = [used.preprocess for used in sets if used.preprocess]
    if not declared:
        return None, ("No preprocessing is known: the example takes arrays as the network does.",)
    notes = () if all(other == declared[0] for other in declared) else (
        f"The sets were preprocessed in different ways; the example does what «{sets[0].name}» had.",
    )  # fmt: skip
    return Preprocess.from_json(declared[0]), notes


def _cache_parts(files: _Files, model: Model, version: str | None) -> Embedded:
    if files.cache is None:
        raise UsageError(f"'{files.model}' has no Q/DQ, so its scales come from a calibration cache: give --cache.")
    cache = parse_cache(read_text(files.cache, "a calibration cache"))
    target = version or cache.version or DEFAULT_VERSION
    check_names(cache.scales, model, what=f"'{files.cache}'")
    stored, notes = stored_source(StoredScales(files.cache), model, target)
    if files.scales is not None:
        check_made_for(read_scale_table(files.scales).provenance, model.digest, f"'{model.name}'")
    return Embedded(
        name=files.name,
        model=model,
        cache=files.cache,
        scales=files.scales,
        version=target,
        options=BuildOptions(),
        chosen_on=getattr(stored, "chosen_on", ()),
        notes=notes,
    )


def _qdq_parts(files: _Files, model: Model, version: str | None) -> Embedded:
    settings = settings_of(model)
    aimed_at = str(settings.get("target", ""))
    if aimed_at == "ort":
        raise UsageError(
            f"The Q/DQ of '{files.model}' were placed for ONNX Runtime: quantize for the target's TensorRT (--target tensorrt@…)."
        )
    target = version or (aimed_at.partition("@")[2] or DEFAULT_VERSION)
    if files.scales is not None:
        check_scales(files.scales, model)
    notes = () if _alike(aimed_at, target) else (f"The Q/DQ were placed for {aimed_at}, and the target has {target}.",)
    return Embedded(
        name=files.name,
        model=model,
        cache=files.cache,
        scales=files.scales,
        version=target,
        options=BuildOptions(),
        chosen_on=chosen_on(model),
        notes=notes,
    )


def _alike(aimed_at: str, version: str) -> bool:
    _, at, number = aimed_at.partition("@")
    return not at or parse_version(number)[:2] == parse_version(version)[:2]
