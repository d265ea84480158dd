"""Step: what one method's scales cost on the tuning set; the INT8 model is built in memory and not kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.comparison.comparison import CompareOptions, Comparison, compare
from quantlab.data import Dataset
from quantlab.graph.model import Model
from quantlab.jobs import data_source
from quantlab.jobs.comparing import Mode, open_int8
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.metric_choice import chosen_metrics, labels_of
from quantlab.jobs.metric_choice import options as metric_options
from quantlab.jobs.quantizing import read_scales
from quantlab.jobs.step import Made, Progress, Remake, carry_out
from quantlab.storage.text import write_text
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Scoring:
    """Which scales to judge, on what.

    Attributes
    ----------
    model
        The float model.
    scales, source, output
        The method's table, the tuning set as declared, and the .json file.
    options
        As the final model will be built.
    metrics
        Names of what to score by; () is top-1 where the data have labels.
    """

    model: Model
    scales: Path
    source: DataSource
    output: Path
    options: QuantizeOptions = field(default_factory=QuantizeOptions)
    metrics: tuple[str, ...] = ()


def score_method(what: Scoring, data: Dataset, *, remake: Remake = "never", progress: Progress | None = None) -> Made:
    """Write the comparison of the method's INT8 model with FP32, never final, unless it is current.

    `data` is the opened tuning set: all methods share it, so it is hashed once.

    Raises
    ------
    QuantlabError
        As `quantize` and `compare`; StaleError as `carry_out` tells.
    """
    mode: Mode = "optimize" if what.options.target == "ort" else "simulate"

    def recipe() -> Recipe:
        inputs = {"model": what.model.digest, "scales": file_digest(what.scales)}
        options = {"target": what.options.target, "weights": what.options.weights, "head": what.options.head}
        return Recipe(
            "tuning",
            inputs | data_source.digests(what.source, data, labels=True),
            options | metric_options(what.metrics) | data_source.options(what.source),
        )

    def make() -> Mapping[str, str]:
        table = read_scales(what.scales)
        built = quantize(what.model, table, options=what.options)
        with engines.ort(what.model) as fp32, open_int8(built.model, mode) as int8:
            found = compare(
                fp32,
                int8,
                data,
                metrics=chosen_metrics(what.metrics, data, (1,), model=what.model),
                chosen_on=table.provenance.chosen_on if table.provenance else (),
                options=CompareOptions(final=False, labels=labels_of(what.source, what.metrics), progress=progress),
            )
        write_text(what.output, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
        return versions(found.backends.int8)

    return Made(what.output, carry_out(what.output, recipe, make, remake=remake))


def logit_sqnr_db(found: Comparison) -> float:
    """Return the SQNR of the network's outputs, in dB: the lowest of several, −inf where it is no number."""
    known = [error.sqnr_db for error in found.outputs]
    return min((float("-inf") if isnan(db) else db for db in known), default=float("-inf"))
