"""What training minimises: the user's loss, and the distance from a float teacher."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from quantlab.errors import InputError, UsageError
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.training_data import Samples

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Distillation:
    """How much the teacher counts.

    Attributes
    ----------
    kl
        Weight of T² · KL(teacher ‖ student) of the softmaxes of logits / T, mean over the samples: Hinton, Vinyals and
        Dean, Distilling the Knowledge in a Neural Network, 2015. For outputs whose axis 1 holds classes.
    mse
        Weight of the mean squared difference of all outputs, for whatever they hold.
    labels
        Weight of the loss against the labels, where there are labels.
    temperature
        T, > 0.
    """

    kl: float = 1.0
    mse: float = 0.0
    labels: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UsageError(f"The temperature of distillation is greater than 0, not {self.temperature}.")
        if min(self.kl, self.mse, self.labels) < 0:
            raise UsageError("The weights of distillation are at least 0.")
        if not self.kl + self.mse > 0:
            raise UsageError("Distillation needs a weight above 0: `kl` for class scores, `mse` for other outputs.")


class Objective:
    """The number to minimise, of a batch.

    Parameters
    ----------
    loss
        (outputs, labels) → a scalar; None: cross-entropy of the first output, with integer labels.
    teacher
        Gives the outputs to come close to, in evaluation mode and without gradients; None: the labels count alone.
    distillation
        Weights; None without a teacher.
    """

    def __init__(
        self, loss: Loss | None = None, teacher: nn.Module | None = None, distillation: Distillation | None = None
    ) -> None:
        self._loss: Loss = loss or _cross_entropy
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)
        self._weights = (distillation or Distillation()) if teacher is not None else None

    def __call__(self, outputs: Any, samples: Samples) -> Tensor:
        """Return a float32 scalar.

        Raises
        ------
        InputError
            Without labels where only they count, or when student and teacher differ in outputs.
        """
        if self.teacher is None or self._weights is None:
            return self._loss(outputs, _labels(samples)).float()
        with torch.no_grad():
            aim = tensors_of(samples.through(self.teacher))
        own = tensors_of(outputs)
        if [o.shape for o in own] != [a.shape for a in aim]:
            raise InputError(
                f"The teacher's outputs are {_shapes(aim)}, the network's {_shapes(own)}: give a teacher with the same."
            )
        weights, total = self._weights, torch.zeros((), device=own[0].device)
        if samples.labels is not None and weights.labels:
            total = total + weights.labels * self._loss(outputs, samples.labels).float()
        if weights.kl:
            total = total + weights.kl * divergence(own[0], aim[0], weights.temperature)
        if weights.mse:
            total = total + weights.mse * sum(
                functional.mse_loss(o.float(), a.float()) for o, a in zip(own, aim, strict=True)
            )
        return total


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² · KL(teacher ‖ student), mean over all but axis 1, which holds the classes; natural logarithm.

    Raises
    ------
    InputError
        When there is no axis 1.
    """
    if student.ndim < 2:
        raise InputError(
            f"Distillation by KL needs class scores [samples, classes], not {list(student.shape)}: use `mse` instead."
        )
    own = functional.log_softmax(student.float() / temperature, 1)
    aim = functional.log_softmax(teacher.float() / temperature, 1)
    each = functional.kl_div(own, aim, reduction="none", log_target=True).sum(1)
    return each.mean() * temperature**2


def float_teacher(module: nn.Module) -> nn.Module:
    """Return a copy of a prepared module that does not quantize: what it computes before it is trained is FP32's."""
    teacher = copy.deepcopy(module)
    for part in teacher.modules():
        if isinstance(part, FakeQuantize):
            part.enabled = False
    return teacher.eval().requires_grad_(False)


def tensors_of(outputs: Any) -> tuple[Tensor, ...]:
    """Return the tensors of what a module returned: one, or those of a tuple, list or mapping, in order."""
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, Mapping):
        outputs = tuple(outputs.values())
    found = tuple(each for each in outputs if isinstance(each, Tensor)) if isinstance(outputs, tuple | list) else ()
    if not found:
        raise InputError(f"The network returned no tensor but {type(outputs).__name__}: give a loss that reads it.")
    return found


def _cross_entropy(outputs: Any, labels: Tensor) -> Tensor:
    logits = tensors_of(outputs)[0]
    if labels.is_floating_point() or logits.ndim < 2:
        raise InputError(
            f"Cross-entropy needs logits [samples, classes] and integer labels, not {list(logits.shape)} and "
            f"{labels.dtype}: give a `loss` of your own."
        )
    return functional.cross_entropy(logits.float(), labels.long())


def _labels(samples: Samples) -> Tensor:
    if samples.labels is None:
        raise InputError(
            "A batch has no labels, and there is no teacher: give labels, or distil from the float network."
        )
    return samples.labels


def _shapes(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)
