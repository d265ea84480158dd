"""A job's part on quantization-aware training: the PyTorch module behind the network, and how to train it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo
from pydantic import field_validator as validated

from quantlab.jobs.data_section import DataEntry, Section


class DistillationSection(Section):
    """Weights of what the float network answers, as `quantlab.qat.Distillation` takes them.

    Attributes
    ----------
    kl
        Of the divergence from its class probabilities.
    mse
        Of the squared distance from its outputs.
    labels
        Of the labels, where the samples have any.
    temperature
        By which both networks' scores are divided for `kl`.
    """

    kl: float = Field(1.0, ge=0, allow_inf_nan=False)
    mse: float = Field(0.0, ge=0, allow_inf_nan=False)
    labels: float = Field(0.5, ge=0, allow_inf_nan=False)
    temperature: float = Field(2.0, gt=0, allow_inf_nan=False)


class TrainingSection(Section):
    """How to train where PTQ falls short; paths are relative to the job's file.

    Attributes
    ----------
    module
        «file.py:function»: the function takes nothing and returns the float `torch.nn.Module`.
    state_dict
        Its weights, as `torch.save(module.state_dict(), …)` writes them; None: the function loads its own.
    train
        Samples to train on, with labels unless the network learns from its float self alone.
    when
        needed: where tuned PTQ loses more than the job allows; always: in any case.
    start
        ptq: from the scales of the job's method; tuned: from the scales and weights that the search found, with what it
        kept in float. By default tuned where there is a search.
    tune
        Whether to search for better PTQ before, where the job's method falls short.
    samples
        Samples of the tuning set that the search measures on, at most.
    exporter, opset
        As `ql.export` takes them.
    gradient
        lsq learns the scales; ste keeps them.
    batch_norm
        fold: into the weights, before training; train: as layers of their own that are folded at the end.
    epochs, steps, batch, seed, ema, patience, precision, keep, evaluate_every, checkpoint_every
        As `quantlab.qat.TrainOptions`.
    optimizer, rate, scale_rate, weight_decay
        As its schedule.
    distil
        Also learn from what the float network answers: true, false, or weights.
    augment, loss
        «file.py:function», as `TrainOptions.augment` and the `loss` of `quantlab.qat.train`.
    """

    module: str
    state_dict: Path | None = None
    train: DataEntry
    when: Literal["needed", "always"] = "needed"
    start: Literal["ptq", "tuned"] | None = None
    tune: bool = True
    samples: int | None = Field(None, ge=1)
    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    opset: int = Field(17, ge=17)
    gradient: Literal["lsq", "ste"] = "lsq"
    batch_norm: Literal["fold", "train"] = "fold"
    epochs: int = Field(10, ge=1)
    steps: int | None = Field(None, ge=1)
    batch: int = Field(64, ge=1)
    seed: int = 0
    ema: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
    scale_rate: float = Field(1e-2, ge=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    distil: bool | DistillationSection = True
    keep: Literal["best", "last"] = "best"
    augment: str | None = None
    loss: str | None = None
    _folder: Path = PrivateAttr(Path())

    @validated("module", "augment", "loss", mode="before")
    @classmethod
    def _names_a_function(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name != "module":
            return None
        if not isinstance(value, str) or not value.rpartition(":")[0].endswith(".py"):
            raise ValueError("«file.py:function» is expected, a function in a Python file")
        return value

    def place(self, folder: Path) -> None:
        """Take paths relative to a folder."""
        self._folder = folder

    @property
    def from_tuned(self) -> bool:
        """Whether training starts from what the search found."""
        return self.tune if self.start is None else self.start == "tuned"

    @property
    def file(self) -> Path:
        """The Python file."""
        return self.located(self.module)[0]

    @property
    def function(self) -> str:
        """The function in it."""
        return self.located(self.module)[1]

    def located(self, named: str) -> tuple[Path, str]:
        """Return the file and the function of a «file.py:function»."""
        place, _, function = named.rpartition(":")
        return self._folder / place, function

    @property
    def weights(self) -> Path | None:
        """The file of the weights."""
        return None if self.state_dict is None else self._folder / self.state_dict

    @property
    def exporting(self) -> dict[str, Any]:
        """What decides the exported model, beside the files."""
        return {"function": self.function, "exporter": self.exporter, "opset": self.opset}

    @property
    def training(self) -> dict[str, Any]:
        """What decides the trained weights, beside files and data, as JSON values."""
        return {**self.model_dump(mode="json", exclude=_NO_MATTER), "start": "tuned" if self.from_tuned else "ptq"}


_NO_MATTER = {"module", "state_dict", "train", "when", "tune", "samples", "checkpoint_every"}
