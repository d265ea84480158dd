"""What one run does: a network, its data, the methods to compare and the target, all validated before anything runs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)
from pydantic import field_validator as validated
from typing_extensions import Self

from quantlab.calibration.methods.names import parse_method
from quantlab.collector.collect import DEFAULT_BUDGET
from quantlab.errors import QuantlabError
from quantlab.jobs.cache_section import CacheSection
from quantlab.jobs.checks import check_target
from quantlab.jobs.data_section import DataSection, DataSets, Section
from quantlab.jobs.data_source import DataSource, located
from quantlab.jobs.metric_choice import parsed
from quantlab.jobs.preprocessing import preprocess_of, read_preprocess
from quantlab.jobs.sizes import parse_bytes
from quantlab.jobs.training_section import TrainingSection
from quantlab.jobs.workers_section import WorkersEntry
from quantlab.metrics.names import with_files

_SETS = ("calibration", "tuning", "evaluation")
DEFAULT_METHODS = ("minmax", "percentile:99.99", "percentile:99.999", "entropy", "squared-error")
BEST = "best"
EXPORTED = "qat/float.onnx"
"""Where, in the run folder, training puts the model that it exports."""


def _size(value: Any) -> int:
    return _sentence(parse_bytes, value)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) and value not in ("quantizable", "all") else value


class ObjectionsError(ValueError):
    """What in a job does not go together: sentences, each with the field in backquotes before any other."""

    def __init__(self, listed: tuple[str, ...]) -> None:
        super().__init__("; ".join(listed))
        self.listed = listed


class Job(Section):
    """Everything that one run does; paths are relative to the job's file, and those that the file gives stay in its folder.

    What is outside of it is given with --set or a QUANTLAB_JOB_… variable, or by standing in a folder that holds both;
    so are stores and clusters, which are reached over the network (see `quantlab.jobs.job_paths`).

    Attributes
    ----------
    model
        The float ONNX model.
    output
        The run folder.
    preprocess
        Of every set that declares none of its own: a mapping, or a YAML or JSON file.
    data
        The sets.
    expose
        quantizable, all, or name patterns: what is counted. By default all if a cache is wanted, as TensorRT looks up
        every tensor in it, else quantizable.
    methods
        What is compared on the tuning set.
    choose
        The method of the result, or «best»: the one with the highest logit SQNR on the tuning set. By default
        squared-error, or the only method.
    rules
        Name pattern → method, for tensors that need another one; the first that matches wins.
    overrides
        A YAML file with ranges set by hand, as `quantlab calibrate --overrides` takes it; they go before every rule.
    target
        tensorrt, tensorrt@8.6 … tensorrt@11.0, or ort: what will run the model.
    weights
        int8: stored as INT8 with DQ; qdq: FP32 with Q and DQ.
    head
        The last weighted operator and the pooling before it: float or int8.
    cache
        Null: no calibration cache.
    ort
        Also build a model for ONNX Runtime's integer kernels, and measure it with its latency.
    metrics
        What the sets with labels are scored by, as `parse_metric` takes it; by default top-1, and top-5 on the evaluation
        set. Files that they name are relative to the job's file.
    max_drop
        Points of the first metric that the result may lose on the evaluation set; more is exit code 1.
    nonfinite
        refuse NaN and infinities in any counted tensor, or count them apart, as masks of −Inf need.
    budget
        Memory for exposed activations, such as 512MiB.
    tensorrt_grid
        Batch of TensorRT's own histogram, for the tensorrt-… methods.
    qat
        The PyTorch module behind the model, and how to train it where PTQ loses more than `max_drop`.
    workers
        How many processes share out the samples of collecting and comparing: a number, or a mapping; see `WorkersSection`.
    history
        A folder to which the run's comparison is added at the end, as `quantlab history add` does.
    """

    model: Path
    output: Path
    data: DataSets
    preprocess: dict[str, Any] | str | None = None
    expose: Literal["quantizable", "all"] | Annotated[tuple[str, ...], BeforeValidator(_listed)] | None = None
    methods: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(DEFAULT_METHODS, min_length=1)
    choose: str = ""
    rules: dict[str, str] = Field(default_factory=dict)
    overrides: Path | None = None
    target: str = "tensorrt"
    weights: Literal["qdq", "int8"] = "int8"
    head: Literal["float", "int8"] = "float"
    cache: CacheSection | None = None
    ort: bool = False
    metrics: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    max_drop: float | None = Field(None, ge=0, allow_inf_nan=False)
    budget: Annotated[int, BeforeValidator(_size)] = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    tensorrt_grid: int | None = Field(None, ge=1)
    qat: TrainingSection | None = None
    workers: WorkersEntry | None = None
    history: Path | None = None
    _sources: dict[str, DataSource] = PrivateAttr(default_factory=dict)
    _name: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _exported(cls, fields: Any) -> Any:
        """Take the model that training exports where none is named."""
        trains = isinstance(fields, dict) and fields.get("qat") and isinstance(fields.get("output"), str)
        return {"model": f"{fields['output']}/{EXPORTED}", **fields} if trains else fields

    @validated("model", "output", "overrides", "history", mode="before")
    @classmethod
    def _beside_the_file(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name in ("overrides", "history"):
            return None
        if not isinstance(value, str) or not value.strip():
            raise ValueError("a path is expected, relative to the job's file")
        return _folder(info) / value

    @validated("methods", "rules", "choose")
    @classmethod
    def _known_methods(cls, value: Any) -> Any:
        given = value.values() if isinstance(value, Mapping) else () if value in ("", BEST) else _listed(value)
        for text in given:
            _sentence(parse_method, text)
        return value

    @validated("metrics")
    @classmethod
    def _known_metrics(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        located = tuple(with_files(text, _folder(info)) for text in value)
        _sentence(parsed, located)
        return located

    @validated("target")
    @classmethod
    def _known_target(cls, value: str) -> str:
        _sentence(check_target, value)
        return value

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if not self.choose and ("squared-error" in self.methods or len(self.methods) == 1):
            preferred = "squared-error" if "squared-error" in self.methods else self.methods[0]
            object.__setattr__(self, "choose", preferred)
        objections = tuple(dict.fromkeys((*self._objections(), *self._located(_folder(info)))))
        if objections:
            raise ObjectionsError(objections)
        self._name = _file(info).stem
        if self.qat is not None:
            self.qat.place(_folder(info))
        return self

    def _located(self, folder: Path) -> Iterator[str]:
        """Declare the sources; yield what is wrong with their preprocessing."""
        sets = {"train": self.qat.train} if self.qat is not None else {}
        sets |= {name: entry for name in _SETS if (entry := getattr(self.data, name)) is not None}
        for name, entry in sets.items():
            yield from self._declared(name, entry, folder)

    def _declared(self, name: str, entry: DataSection, folder: Path) -> Iterator[str]:
        try:
            self._sources[name] = self._source(entry, folder)
        except QuantlabError as error:
            own = "qat.train." if name == "train" else f"data.{name}."
            yield f"`{'' if entry.preprocess is None else own}preprocess`: {error}"

    def _objections(self) -> Iterator[str]:
        """Yield what does not go together."""
        listed = ", ".join(self.methods)
        if not self.choose:
            yield f"`choose` is missing: name one of {listed}, or {BEST}"
        elif self.choose not in (BEST, *self.methods):
            yield f"`choose` is «{self.choose}», which is none of the methods {listed}, nor {BEST}"
        if self.choose == BEST and self.data.tuning is None:
            yield f"`choose: {BEST}` needs `data.tuning`, a set of its own to compare the methods on"
        if len({slug(method) for method in self.methods}) < len(self.methods):
            yield "a method is listed twice in `methods`"
        if self.tensorrt_grid is None and any(method.startswith("tensorrt-") for method in self.methods):
            yield "the tensorrt-… methods need `tensorrt_grid`, the batch that TensorRT's histogram depends on"
        if self.max_drop is not None and self.data.evaluation is None:
            yield "`max_drop` needs `data.evaluation`, the set on which the drop is measured"
        if self.history is not None and self.data.evaluation is None:
            yield "`history` needs `data.evaluation`, as a history keeps what was measured there"
        yield from self._metric_objections()
        if self.qat is not None and self.max_drop is None:
            yield "`qat` needs `max_drop`, the points that may be lost before a network is trained"
        yield from self._ort_objections()

    def _ort_objections(self) -> Iterator[str]:
        if self.cache is not None and self.target == "ort":
            yield "`cache` is read by TensorRT, but `target` is ort: leave it out, or give --set cache=null"
        if self.ort and self.target == "ort":
            yield "`ort: true` builds a second model for ONNX Runtime, but `target` is ort already"

    def _metric_objections(self) -> Iterator[str]:
        if self.max_drop is not None and self.metrics and not getattr(parsed(self.metrics)[0], "in_points", False):
            yield f"`max_drop` is in points, and «{self.metrics[0]}», the first of `metrics`, is no share"
        if self.qat is not None and self.metrics:
            yield "`qat` is judged by top-1: leave `metrics` out"
        entries = (self.data.calibration, self.data.tuning, self.data.evaluation)
        if not self.metrics and any(entry is not None and entry.labels for entry in entries):
            yield "`labels` names a file, and nothing says how to score by it: add `metrics`"

    @property
    def name(self) -> str:
        """The job's file name without ending; where that says nothing, the model's."""
        says_nothing = self._name == "job" and self.model != self.output / EXPORTED
        return self.model.stem if says_nothing else self._name

    @property
    def exposed(self) -> Literal["quantizable", "all"] | tuple[str, ...]:
        """What is counted."""
        return self.expose or ("all" if self.cache else "quantizable")

    @property
    def sources(self) -> Mapping[str, DataSource]:
        """The declared sets by name: calibration, and tuning, evaluation and train if there are any."""
        return self._sources

    def _source(self, entry: DataSection, folder: Path) -> DataSource:
        declared = self.preprocess if entry.preprocess is None else entry.preprocess
        if isinstance(declared, str):
            declared = read_preprocess(declared if declared.lstrip().startswith("{") else str(folder / declared))
        source = DataSource(
            place=entry.path,
            preprocess=None if declared is None else preprocess_of(declared),
            batch=entry.batch,
            input=entry.input,
            label_pattern=entry.label_pattern,
            skip_bad=entry.skip_bad,
            labels=entry.labels,
        )
        return located(source, folder)


def slug(method: str) -> str:
    """Return a method's name as part of a file's: «percentile-99.99»."""
    return re.sub(r"[^a-zA-Z0-9.]+", "-", method).strip("-.")


def _folder(info: ValidationInfo) -> Path:
    return _file(info).parent


def _file(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("file", "job.yaml"))


def _sentence(function: Any, *arguments: Any) -> Any:
    """Call a function; what it refuses becomes a validation error, which pydantic ties to the field."""
    try:
        return function(*arguments)
    except QuantlabError as error:
        raise ValueError(str(error)) from error
