"""Goes through a network operator by operator, FP32 and INT8 side by side, and corrects each on what INT8 feeds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantlab.builder import QuantizeOptions, with_kept_names
from quantlab.calibration.scale_table import ScaleTable
from quantlab.data.batch import Dataset
from quantlab.graph.biases import with_biases, with_weights
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.tuning.companions import Companions
from quantlab.tuning.networks import Networks
from quantlab.tuning.visit import LayerChange, Visit, WalkOptions

__all__ = ["LayerChange", "WalkOptions", "Walked", "walk"]


@dataclass(frozen=True, slots=True)
class Walked:
    """A corrected network.

    Attributes
    ----------
    model
        The float model, normalised, with new biases and with weights that are exactly what their integers stand for.
    table
        The scales: rows of activations under the names of this model, and a row for each corrected weight.
    layers
        What was done, in graph order.
    skipped
        Quantized operators that are left as they were → why.
    samples
        How many samples went along.
    """

    model: Model
    table: ScaleTable
    layers: tuple[LayerChange, ...]
    skipped: Mapping[str, str]
    samples: int


def walk(
    reference: Model, table: ScaleTable, options: QuantizeOptions, data: Dataset, *, settings: WalkOptions | None = None
) -> Walked:
    """Correct the weighted operators that `options` quantizes, one after the other in graph order.

    Each is corrected on what the INT8 network feeds it when all before it are corrected, so errors that came from
    there are corrected too. Both networks run once, in pieces, and what lies between pieces stays in memory. The
    same arguments give the same bits.

    Parameters
    ----------
    reference
        The float model: what the INT8 network shall come close to, and whose weights and biases are the start.
    table
        A row for each activation that `options` quantizes. Rows of weights are the start where they fit.
    data
        Calibration samples; no labels are needed.

    Raises
    ------
    InputError
        Samples that the model cannot run, or NaN in them or in what FP32 makes of them; the table lacks tensors.
    """
    settings = settings or WalkOptions()
    normalised = normalise(reference)
    table = with_kept_names(table, normalised.all_aliases)
    networks = Networks.of(normalised.model, table, options)
    companions = Companions.begin(networks, data, settings)
    visits = []
    for done, step in enumerate(networks.steps, start=1):
        visits.append(companions.visit(step, table))
        if settings.progress:
            settings.progress(done, len(networks.steps))
    model = _with_visits(normalised.model, visits)
    rows = [row for visit in visits for row in visit.rows(table)]
    layers = tuple(visit.change for visit in visits)
    return Walked(model, table.with_rows(rows), layers, networks.skipped, companions.samples)


def _with_visits(model: Model, visits: Sequence[Visit]) -> Model:
    weights = {v.step.op.node.input[1]: v.weight for v in visits if v.reweighted}
    biases = {v.step.op.node.name: v.bias for v in visits if v.rebiased}
    return with_biases(with_weights(model, weights), biases)
