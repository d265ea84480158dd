"""What a walk may do, and what it did at one operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import UsageError
from quantlab.numerics.affine import QuantParams
from quantlab.numerics.arrays import F32
from quantlab.tuning.activation_scales import ActivationScales, scaled_row
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.layer import Correction
from quantlab.tuning.networks import Step

WalkProgress = Callable[[int, int], None]
"""Told how many operators are done, and of how many."""


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """What a walk corrects, and what it may take.

    Attributes
    ----------
    correction
        Chooses biases, or weights and biases; None leaves both.
    scales
        Chooses scales of activations; None leaves them.
    samples
        How many samples go along at most, ≥ 1; every fourth batch of them judges.
    batch
        Samples that run at once, ≥ 1, where the model leaves it open.
    memory
        Bytes for tensors between operators and for the rows of one; fewer samples go along if they need more.
    threads
        Of ONNX Runtime; None is one a core.
    progress
        Told after each operator.
    """

    correction: Correction | None = field(default_factory=AdaptiveRounding)
    scales: ActivationScales | None = None
    samples: int = 128
    batch: int = 8
    memory: int = 1 << 30
    threads: int | None = None
    progress: WalkProgress | None = None

    def __post_init__(self) -> None:
        if min(self.samples, self.batch, self.memory) < 1:
            raise UsageError(
                f"A walk needs samples, a batch and memory of at least 1, not {self.samples}, {self.batch} and {self.memory}."
            )


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What was done at one operator.

    Attributes
    ----------
    node
        Its name.
    before_db, after_db
        Signal-to-noise ratio of its output behind its activation function, on rows that fitted nothing, in dB: with
        weights rounded to nearest and the old bias, and as corrected; all earlier operators are corrected in both.
    changed
        Share, 0 … 1, of the weights that are another integer than rounding to nearest gives.
    multiplier
        What the scale of its input was multiplied by.
    seconds
        What it took.
    """

    node: str
    before_db: float
    after_db: float
    changed: float
    multiplier: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """The outcome at one operator.

    Attributes
    ----------
    weight, bias
        As the float model is to have them: float32 in the shape of the weight, and [channels].
    reweighted, rebiased
        Whether they are others than before.
    scale
        float32 [channels] of the weight.
    """

    step: Step
    change: LayerChange
    weight: F32
    bias: F32
    scale: F32
    reweighted: bool
    rebiased: bool

    def rows(self, table: ScaleTable) -> list[Scale]:
        """Return the rows of `table` that the visit changes, and that of its weight."""
        rows = []
        if self.change.multiplier != 1.0:
            rows.append(scaled_row(table[self.step.quantized], self.change.multiplier))
        if self.reweighted:
            op = self.step.op
            params = QuantParams(self.scale, np.zeros(len(self.scale), np.int64), "int8", op.channel_axis)
            name = op.node.input[1]
            rows.append(Scale.of(name, params, role="weight", shape=op.weight, method="adaptive rounding"))
        return rows
