"""Fine-tune a prepared network: a short loop whose parts serve any other loop as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from quantlab.errors import InputError, UsageError
from quantlab.qat.callbacks import Callback
from quantlab.qat.distillation import Loss, Objective, float_teacher
from quantlab.qat.train_options import TrainOptions
from quantlab.qat.trained import Trained
from quantlab.qat.training import Training
from quantlab.qat.training_data import Feed, Held, held, streamed


def train(
    prepared: Any,
    data: Any,
    *,
    options: TrainOptions | None = None,
    loss: Loss | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    teacher: nn.Module | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train a prepared module in place.

    The order of the samples, dropout and whatever draws from torch's generator follow from the seed and the number of
    the step, so a training that was killed goes on from its checkpoint to the same weights, bit for bit on a CPU with
    as many threads. The caller's generator is as it was afterwards. In a process group of torch.distributed every
    process calls it: scales are synchronised, gradients averaged, and each takes its share of every batch.

    Parameters
    ----------
    prepared
        What `prepare` returns, or any module with `FakeQuantize` in it.
    data
        An iterable of (inputs, labels), of mappings or of quantlab's batches, or a function that returns one.
    loss
        (outputs, labels) → a scalar; None: cross-entropy.
    evaluate
        Module, in evaluation mode → a number, larger is better; measured on samples that are not those of the final
        verdict, as it chooses when to stop and what to keep.
    teacher
        Gives outputs to come close to; None with `options.distillation`: the module itself without quantization, as
        it is before training.

    Raises
    ------
    UsageError
        When something is asked for that the rest does not allow.
    InputError
        For data that cannot be used, a loss that is not finite, or a damaged checkpoint.
    StaleError
        When the folder holds another training.
    """
    settings = options or TrainOptions()
    module = module_of(prepared)
    feed = _feed(data, settings, _inputs(prepared))
    objective = objective_of(module, settings, loss=loss, teacher=teacher)
    _check(feed, settings, evaluate, objective)
    training = Training(module, feed, objective, settings, evaluate, tuple(callbacks))
    training.freeze = getattr(prepared, "freeze_batch_norm", None)
    with torch.random.fork_rng(devices=_accelerators(module)):
        return training.run()


def module_of(prepared: Any) -> nn.Module:
    """Return the module to train.

    Raises
    ------
    UsageError
        When there is none.
    """
    module = prepared if isinstance(prepared, nn.Module) else getattr(prepared, "module", None)
    if not isinstance(module, nn.Module):
        raise UsageError(f"train needs what `prepare` returns, or a torch module, not {prepared!r:.60}.")
    return module


def objective_of(
    module: nn.Module, options: TrainOptions, *, loss: Loss | None = None, teacher: nn.Module | None = None
) -> Objective:
    """Return what `train` minimises; call it before the first step, as it may copy the module for a teacher."""
    if teacher is None and options.distillation is not None:
        teacher = float_teacher(module)
    return Objective(loss, teacher, options.distillation)


def _inputs(prepared: Any) -> tuple[str, ...]:
    """Return the names of the network's inputs in order, where they are known."""
    model = getattr(prepared, "float_model", None)
    return () if model is None else tuple(each.name for each in model.proto.graph.input)


def _feed(data: Any, settings: TrainOptions, order: tuple[str, ...]) -> Feed:
    if settings.shuffle:
        return held(data, order, batch=settings.batch, seed=settings.seed, memory=settings.memory)
    return streamed(data, order, seed=settings.seed, count=settings.steps is None)


def _check(
    feed: Feed,
    settings: TrainOptions,
    evaluate: Callable[[nn.Module], float] | None,
    objective: Objective,
) -> None:
    if (settings.target is not None or settings.patience is not None) and evaluate is None:
        raise UsageError("A target or patience needs `evaluate`, which measures the module.")
    if evaluate is not None and settings.evaluate_every is None and feed.batches is None:
        raise UsageError(
            "The loader does not tell how long an epoch is: say with `evaluate_every` after how many steps to evaluate."
        )
    if isinstance(feed, Held):
        if feed.samples.labels is None and objective.teacher is None:
            raise InputError(
                "The training data have no labels, and there is no teacher: give labels, or `distillation` to learn "
                "from the float network."
            )
        if not feed.samples.finite:
            raise InputError("The training inputs hold NaN or infinities: leave those samples out.")


def _accelerators(module: nn.Module) -> list[int]:
    """Return the CUDA devices whose generators a training changes."""
    return sorted({p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"})
