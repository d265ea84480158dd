"""From a module and the scales of PTQ to files of a trained Q/DQ model: what a job's training step does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quantlab.atomic import atomic_path
from quantlab.data.batch import UNNAMED, Batch, Dataset
from quantlab.errors import InputError
from quantlab.graph.model import write_model
from quantlab.graph.qdq import WeightForm
from quantlab.qat.callbacks import Callback, Progress
from quantlab.qat.distillation import Loss, tensors_of
from quantlab.qat.export import evaluate_equality, export
from quantlab.qat.export_example import parameter_names
from quantlab.qat.prepare import prepare
from quantlab.qat.prepare_options import PrepareOptions
from quantlab.qat.train import train
from quantlab.qat.train_options import TrainOptions
from quantlab.qat.training_data import Samples
from quantlab.storage.files import save
from quantlab.storage.text import write_text

_CHECKED = 4  # batches on which the Q/DQ model must equal the module


@dataclass(frozen=True, slots=True)
class TrainedFiles:
    """Where a trained network is put.

    Attributes
    ----------
    quantized, model, scales
        The Q/DQ model; the float model and the scales that give it again.
    state
        The trained module's state dict.
    course
        How the training went, as JSON.
    """

    quantized: Path
    model: Path
    scales: Path
    state: Path
    course: Path


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sample as a module takes it.

    Attributes
    ----------
    tensors
        In the order of forward's parameters.
    names
        What the inputs are called.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]


def example_of(module: nn.Module, batch: Batch) -> Example:
    """Return the first sample of a batch, its inputs in the order of forward's parameters.

    Raises
    ------
    InputError
        When the batch has several inputs that are not called as the parameters are.
    """
    known = parameter_names(module, len(batch))
    if UNNAMED in batch or len(batch) == 1:
        (values,) = batch.values()
        names: tuple[str, ...] = known if UNNAMED in batch else tuple(batch)
        return Example((torch.from_numpy(values[:1].copy()),), names)
    if set(known) != set(batch):
        raise InputError(
            f"The data have the inputs {sorted(batch)}, and forward of {type(module).__name__} takes {list(known)}: call "
            "them the same."
        )
    return Example(tuple(torch.from_numpy(batch[name][:1].copy()) for name in known), known)


@dataclass(frozen=True, slots=True, eq=False)
class FineTuning:
    """What to train, and how.

    Attributes
    ----------
    module
        The float module.
    example
        What it is exported with.
    start
        A scale table, or a candidate of `tune`.
    prepare, train
        Where fake quantization goes, and how the network learns.
    weights
        Form of the weights in the Q/DQ model.
    loss
        (outputs, labels) → a scalar; None: cross-entropy.
    """

    module: nn.Module
    example: Example
    start: Any
    prepare: PrepareOptions
    train: TrainOptions
    weights: WeightForm = "int8"
    loss: Loss | None = None


def fine_tune(
    what: FineTuning,
    data: Dataset,
    tuning: Dataset | None,
    files: TrainedFiles,
    *,
    learnt: Callable[[Progress], None],
) -> None:
    """Prepare, train, export, and write all that came of it.

    Parameters
    ----------
    data
        To learn from.
    tuning
        Labelled samples that choose which weights are kept; None keeps the last.

    Raises
    ------
    QuantlabError
        As `prepare`, `train` and `export`.
    """
    prepared = prepare(what.module, what.example.tensors, what.start, options=what.prepare)
    order = what.example.names
    evaluate = None if tuning is None else _accuracy(tuning, order)
    trained = train(prepared, data, options=what.train, loss=what.loss, evaluate=evaluate, callbacks=(_Told(learnt),))
    exported = export(prepared, weights=what.weights)
    few = [
        tuple(torch.from_numpy(b.bind(order)[n]) for n in order) for b, _ in zip(data, range(_CHECKED), strict=False)
    ]
    equality = evaluate_equality(prepared, exported, few)
    save(exported.table, files.scales)
    write_model(exported.float_model, files.model)
    _write_state(prepared.module, files.state)
    course = {
        "steps": trained.steps,
        "ending": trained.ending,
        "metric": trained.metric,
        "seconds": trained.seconds,
        "resumed_at": trained.resumed_at,
        "traced_by": prepared.traced_by,
        "unmatched": dict(prepared.unmatched),
        "equality": asdict(equality),
        "history": [asdict(moment) for moment in trained.history],
    }
    write_text(files.course, json.dumps(course, ensure_ascii=False, indent=1) + "\n")
    write_model(exported.quantized.model, files.quantized)


class _Told(Callback):
    """Hands each step on."""

    def __init__(self, learnt: Callable[[Progress], None]) -> None:
        self._learnt = learnt

    def on_step(self, module: nn.Module, progress: Progress) -> None:  # noqa: ARG002 - the callback's own
        """Hand it on."""
        self._learnt(progress)

    def on_evaluate(self, module: nn.Module, progress: Progress) -> None:  # noqa: ARG002 - the callback's own
        """Hand it on, with the new metric."""
        self._learnt(progress)


def _accuracy(data: Dataset, order: Sequence[str]) -> Callable[[nn.Module], float] | None:
    """Return what measures the share of right answers; None where there are no labels."""
    first = next(iter(data), None)
    if first is None or first.labels is None:
        return None

    def measured(module: nn.Module) -> float:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        right = total = 0
        for batch in data:
            samples = Samples.of(batch.bind(order), order).to(device)
            if samples.labels is not None:
                answers = tensors_of(samples.through(module))[0].argmax(1)
                right, total = right + int((answers == samples.labels).sum()), total + len(samples)
        return right / max(total, 1)

    return measured


def _write_state(module: nn.Module, path: Path) -> None:
    whole = io.BytesIO()
    torch.save(module.state_dict(), whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())
