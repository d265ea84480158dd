"""Biases that take back what rounding the weights shifts, from FP32's own statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from quantlab.builder import QuantizeOptions, with_kept_names
from quantlab.calibration.scale_table import ScaleTable
from quantlab.data.batch import Dataset
from quantlab.engines.onnx_runtime import Network, OrtEngine
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import InputError
from quantlab.graph.biases import with_biases
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.numerics.arrays import F32, F64, AnyArray
from quantlab.tuning.companions import scales_of
from quantlab.tuning.layer import nearest
from quantlab.tuning.networks import Networks, Step
from quantlab.tuning.samples import sample_batches
from quantlab.tuning.weighted import patch_sums

SAMPLES = 128
"""Enough for means over all positions."""

_BATCH = 8
_VALUES = 1 << 21  # of an input that run at once, as every operand of the network is in memory then


def analytic_bias(
    reference: Model,
    table: ScaleTable,
    options: QuantizeOptions,
    data: Dataset,
    *,
    samples: int = SAMPLES,
    threads: int | None = None,
) -> tuple[Model, ScaleTable]:
    """Add (W − Ŵ)·E[x], x as FP32 has it, to each bias (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2).

    One pass of the FP32 network serves all layers; what the rounding of activations shifts is not seen.

    Parameters
    ----------
    reference
        The float model.
    table
        A row for each activation that `options` quantizes. Rows of weights give their scales where they fit.
    data
        Calibration samples; no labels are needed.
    samples
        So many are run at most, spread evenly.

    Returns
    -------
    tuple
        The float model, normalised, with new biases; the table under the names of this model.

    Raises
    ------
    InputError
        Samples that the model cannot run, or NaN in them or in what FP32 makes of them; the table lacks tensors.
    """
    normalised = normalise(reference)
    table = with_kept_names(table, normalised.all_aliases)
    networks = Networks.of(normalised.model, table, options)
    steps = [step for step in networks.steps if step.bias is not None]
    means = _means(networks, steps, data, samples, threads)
    found = {step.op.node.name: _bias(networks, step, table, means[step.op.node.name]) for step in steps}
    return with_biases(normalised.model, found), table


def _bias(networks: Networks, step: Step, table: ScaleTable, mean: F64) -> F32:
    weight = networks.graph.constant(step.op.node.input[1])
    assert weight is not None  # the placement has it as one
    assert step.bias is not None  # only such steps are asked for
    weights, scale = step.op.matrix(weight), scales_of(step, weight, table, networks.weight_method)
    rounded = (nearest(weights, scale).astype(np.float32) * scale.astype(np.float32)[..., None]).astype(np.float64)
    shift = np.einsum("gok,gk->go", weights - rounded, mean)
    return np.asarray(step.bias.value.astype(np.float64) + shift.ravel(), np.float32)


class _Sums:
    """The sum of a tensor over batches of one shape, and over how many samples."""

    def __init__(self) -> None:
        self.total: AnyArray = np.zeros(())
        self.samples = 0

    def add(self, values: AnyArray) -> None:
        """Add a batch."""
        self.total = self.total + values.sum(axis=0, dtype=np.float64)
        self.samples += len(values)


def _means(
    networks: Networks, steps: Sequence[Step], data: Dataset, samples: int, threads: int | None
) -> dict[str, F64]:
    """Return the mean of the rows of each operator's input, float64[G, K]."""
    operands = tuple(dict.fromkeys(step.op.node.input[0] for step in steps))
    sums: dict[str, dict[tuple[int, ...], _Sums]] = {name: {} for name in operands}
    network = Network(networks.model.proto, "", "the model")
    with OrtEngine(network, outputs=operands, options=OrtOptions(threads=threads)) as engine:
        for batch in sample_batches(data, engine.inputs, samples=samples, batch=_rows(data, engine)):
            for name, found in engine.run(batch).items():
                rows = np.atleast_2d(found)
                sums[name].setdefault(rows.shape[1:], _Sums()).add(rows)
    return {step.op.node.name: _mean(step, sums[step.op.node.input[0]]) for step in steps}


def _rows(data: Dataset, engine: OrtEngine) -> int:
    first = next(iter(data)).bind(list(engine.inputs))
    values = max(prod(array.shape[1:]) for array in first.values())
    return max(1, min(_BATCH, _VALUES // max(values, 1)))


def _mean(step: Step, sums: Mapping[tuple[int, ...], _Sums]) -> F64:
    total, rows = np.zeros((step.op.groups, step.op.inputs)), 0
    for each in sums.values():
        found, count = patch_sums(step.op, each.total)
        total += found
        rows += count * each.samples
    mean = total / max(rows, 1)
    if not np.isfinite(mean).all():
        raise InputError(f"Input of «{step.op.node.name}» holds NaN or infinity: the model overflows on these samples.")
    return np.asarray(mean)
