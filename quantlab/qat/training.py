"""The loop itself: steps, evaluations, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quantlab.errors import InputError, QuantlabError
from quantlab.qat.averaging import Average
from quantlab.qat.callbacks import Callback, Progress
from quantlab.qat.checkpoint import read_checkpoint, write_checkpoint
from quantlab.qat.distillation import Objective
from quantlab.qat.distributed import device_of, first_says, rank, replicated, wait, world_size
from quantlab.qat.onnx_tracing import evaluating
from quantlab.qat.optimizers import optimizer_of, set_rates, share_of_peak
from quantlab.qat.train_options import TrainOptions
from quantlab.qat.trained import Ending, Moment, Trained
from quantlab.qat.training_data import Feed, Samples, digest_of, mixed

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Course:
    """How far a training is; what a checkpoint keeps beside weights."""

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[Moment] = field(default_factory=list)
    metric: float | None = None
    best: float | None = None
    without_gain: int = 0
    ending: Ending | None = None

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> _Course:
        return cls(**{**state, "history": [Moment(**each) for each in state["history"]]})


class Training:
    """One run of `train`.

    Attributes
    ----------
    freeze
        Called when the batch norms are to keep their statistics; None: there is nothing to freeze.
    """

    freeze: Callable[[], object] | None = None

    def __init__(
        self,
        module: nn.Module,
        feed: Feed,
        objective: Objective,
        options: TrainOptions,
        evaluate: Callable[[nn.Module], float] | None,
        callbacks: tuple[Callback, ...],
    ) -> None:
        self._module, self._feed, self._objective, self._options = module, feed, objective, options
        self._evaluate, self._callbacks = evaluate, callbacks
        self._steps = options.steps or options.epochs * (feed.batches or 1)
        self._course = _Course()
        self._best: dict[str, Tensor] | None = None
        self._resumed: int | None = None
        self._started, self._first = 0.0, 0

    def run(self) -> Trained:
        """Train, from the checkpoint on if there is one."""
        self._wrapped = replicated(self._module)
        self._optimizer = optimizer_of(self._module, self._options.schedule)
        self._average = Average(self._module, self._options.ema) if self._options.ema else None
        self._asked = self._what_is_asked()
        self._resume()
        self._started, self._first = time.monotonic(), self._course.step
        self._module.train()
        for callback in self._callbacks:
            callback.on_start(self._module, self._steps, self._course.step)
        if self._course.ending is None:
            self._climb()
        return self._finish()

    def _climb(self) -> None:
        course, frozen = self._course, False
        at = self._options.freeze_batch_norm_at
        for samples in self._remaining():
            if self.freeze is not None and not frozen and at is not None and course.step >= at * self._steps:
                self.freeze()
                frozen = True
            loss = self._step(samples)
            course.losses.append(loss)
            course.step += 1
            course.in_epoch += 1
            progress = self._progress(loss)
            self._end_if_asked([callback.on_step(self._module, progress) for callback in self._callbacks])
            self._measure_if_due(loss)
            if course.step == self._steps:
                course.ending = course.ending or "steps"
            if course.ending is not None:
                return
            if course.step % self._options.checkpoint_every == 0:
                self._save()

    def _remaining(self) -> Iterator[Samples]:
        """Yield the batches from where the training stands; each draws from torch's generator as its step says."""
        course, device = self._course, device_of(self._module)
        while True:
            batches, skipped = self._feed.epoch(course.epoch), course.in_epoch
            first = course.step - skipped
            for number in count():
                torch.manual_seed(mixed(self._options.seed, f"step of rank {rank()}", first + number))
                samples = next(batches, None)
                if samples is None:
                    break
                if number >= skipped:
                    yield self._augmented(samples.to(device))
            if number == 0:
                raise InputError("There is no sample to train on.")
            course.epoch, course.in_epoch = course.epoch + 1, 0

    def _augmented(self, samples: Samples) -> Samples:
        return samples if self._options.augment is None else self._options.augment(samples)

    def _step(self, samples: Samples) -> float:
        schedule = self._options.schedule
        set_rates(self._optimizer, share_of_peak(self._course.step, self._steps, schedule))
        self._optimizer.zero_grad(set_to_none=True)
        with self._precision():
            loss = self._objective(samples.through(self._wrapped), samples)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(samples, value)
        loss.backward()  # type: ignore[no-untyped-call]
        if schedule.clip is not None:
            nn.utils.clip_grad_norm_(self._module.parameters(), schedule.clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._module)
        return value

    def _precision(self) -> Any:
        if self._options.precision == "float32":
            return nullcontext()
        return torch.autocast(device_of(self._module).type, torch.bfloat16)

    def _diverged(self, samples: Samples, loss: float) -> QuantlabError:
        where = f"step {self._course.step + 1} of {self._steps}"
        if not samples.finite:
            return InputError(f"The inputs of {where} hold NaN or infinities: leave those samples out.")
        return QuantlabError(
            f"The loss is {loss} in {where}: lower `rate` (now {self._options.schedule.rate:g}) or give a `clip`, and "
            "check that the float network's outputs are finite."
        )

    def _measure_if_due(self, loss: float) -> None:
        course, every = self._course, self._options.evaluate_every
        ends = course.step == self._steps or course.ending is not None
        due = course.step % every == 0 if every else course.in_epoch == self._feed.batches
        if not (due or ends):
            return
        if self._evaluate is not None:
            self._take(self._measured(self._evaluate))
        mean = math.fsum(course.losses) / len(course.losses)
        course.losses.clear()
        progress = self._progress(loss)
        course.history.append(Moment(course.step, course.epoch, mean, progress.rate, progress.metric))
        if self._evaluate is not None:
            self._end_if_asked([callback.on_evaluate(self._module, progress) for callback in self._callbacks])

    def _end_if_asked(self, answers: list[bool | None]) -> None:
        if first_says(float(any(answers)), self._module):
            self._course.ending = self._course.ending or "callback"

    def _measured(self, evaluate: Callable[[nn.Module], float]) -> float:
        with evaluating(self._module), torch.no_grad(), self._averaged():
            value = first_says(float(evaluate(self._module)), self._module)
            if self._options.keep == "best" and _better(value, self._course.best):
                self._best = copy.deepcopy(self._module.state_dict())
        return value

    def _take(self, value: float) -> None:
        course, target, patience = self._course, self._options.target, self._options.patience
        course.metric = value
        if _better(value, course.best):
            course.best, course.without_gain = value, 0
        else:
            course.without_gain += 1
        if target is not None and value >= target:
            course.ending = "target"
        elif patience is not None and course.without_gain >= patience:
            course.ending = "patience"

    def _averaged(self) -> Any:
        return nullcontext() if self._average is None else self._average.applied(self._module)

    def _progress(self, loss: float) -> Progress:
        course = self._course
        seconds, done = time.monotonic() - self._started, course.step - self._first
        left = seconds / done * (self._steps - course.step) if done else None
        rate = self._optimizer.param_groups[0]["lr"]
        return Progress(course.step, self._steps, course.epoch, loss, rate, course.metric, seconds, left)

    def _finish(self) -> Trained:
        course = self._course
        if self._resumed is None or self._resumed < course.step:
            if self._average is not None:
                self._average.apply(self._module)
            if self._best is not None:
                self._module.load_state_dict(self._best)
            self._save()
        self._module.eval()
        metric = course.metric if self._options.keep == "last" else course.best
        loss = course.history[-1].loss if course.history else math.nan
        progress = self._progress(loss)
        for callback in self._callbacks:
            callback.on_end(self._module, progress)
        history, ending = tuple(course.history), course.ending or "steps"
        return Trained(self._module, history, course.step, ending, metric, progress.seconds, self._resumed)

    def _what_is_asked(self) -> dict[str, Any]:
        teacher = self._objective.teacher
        return self._options.asked() | {
            "network": digest_of(self._module.state_dict().items()),
            "teacher": None if teacher is None else digest_of(teacher.state_dict().items()),
            "samples": self._feed.digest,
            "processes": world_size(),
        }

    def _save(self) -> None:
        if self._options.folder is not None and rank() == 0:
            state = {
                "course": self._course.state(),
                "module": self._module.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": None if self._average is None else self._average.state(),
                "best": self._best,
            }
            write_checkpoint(self._options.folder, self._asked, state)

    def _resume(self) -> None:
        if self._options.folder is None:
            return
        wait()
        state = None if self._options.fresh else read_checkpoint(self._options.folder, self._asked)
        if state is None:
            return
        self._course = _Course.of(state["course"])
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.restore(**state["average"])
        self._best, self._resumed = state["best"], self._course.step


def _better(value: float, best: float | None) -> bool:
    return not math.isnan(value) and (best is None or value > best)
