"""Reads policy.yaml; what is wrong in it is said with file, line, key and what is expected there."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from quantlab.errors import InputError, UsageError
from quantlab.jobs.slices_csv import read_slices
from quantlab.regression.policy import LABEL, DropLimit, Level, Limit, Policy, SliceLimit
from quantlab.storage.yaml_text import read_yaml

Value = TypeVar("Value")
Part = TypeVar("Part", bound="LimitSection")
_SHOWN = 3
_AtLeast0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Level: TypeAlias = Annotated[Level, Field(description="What breaking the limit means.")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Short(_Section):
    """A section that a number alone may stand for: its first field."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return {next(iter(cls.model_fields)): value} if number else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        whole = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "number"}, whole]}


class DropSection(_Short):
    """The loss of a metric that is allowed: percentage points for shares, the metric's own unit otherwise."""

    maximum: _AtLeast0 | None = Field(None, description="The loss that is allowed; null: none that is significant.")
    resolution: _AtLeast0 | None = Field(
        None, description="How far beyond it a loss must be excluded before the check passes; null: 1 point, or 1 %."
    )
    level: _Level = "fail"


class LimitSection(_Short):
    """A number that must not be passed."""

    value: _AtLeast0
    level: _Level = "fail"


class ShareSection(LimitSection):
    """A share, 0 … 1, that must be reached."""

    value: Annotated[float, Field(ge=0, le=1)]


class RatioSection(LimitSection):
    """A ratio, at least 1, that must not be passed."""

    value: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class SliceSection(_Section):
    """How much a part of the samples may lose."""

    by: str = Field(LABEL, min_length=1, description="«label», or what the slices of `file` are called.")
    file: str | None = Field(None, description="CSV with samples and their slices, relative to this file.")
    column: str | None = Field(None, description="The CSV's column; by default the one called as `by`, else «slice».")
    maximum: _AtLeast0 | None = Field(None, description="The loss that is allowed; null: none that is significant.")
    resolution: _AtLeast0 | None = Field(None, description="null: few samples are no reason to object.")
    level: _Level = "fail"
    least: int = Field(5, ge=1, description="Slices of fewer samples are not judged.")


_USUAL = Policy()


def _section(kind: type[Part], limit: Limit | None) -> Part | None:
    return None if limit is None else kind(value=limit.value, level=limit.level)


class PolicyDocument(_Section):
    """What a candidate may cost beside its baseline; null leaves a check out, and what is not named keeps its default."""

    alpha: float = Field(_USUAL.alpha, gt=0, le=0.5, description="Share of unchanged networks that may fail by chance.")
    power: float = Field(
        _USUAL.power,
        ge=0.5,
        lt=1,
        description="Probability of a decision that numbers of samples asked for are to give.",
    )
    metrics: dict[str, DropSection] = Field(
        default_factory=dict, description="Metric → loss against the baseline's INT8; empty: the first metric, none."
    )
    fp32: dict[str, DropSection] = Field(
        default_factory=dict, description="Metric → loss against the candidate's own FP32."
    )
    slices: list[SliceSection] = Field(default_factory=list, description="What parts of the samples may lose.")
    agreement: ShareSection | None = Field(None, description="Least share of samples in FP32's class, 0 … 1.")
    coverage: ShareSection | None = Field(None, description="Least share of the operators that run INT8, 0 … 1.")
    coverage_macs: ShareSection | None = Field(None, description="Least share of multiply-accumulates in INT8, 0 … 1.")
    latency: LimitSection | None = Field(None, description="Largest INT8 time a batch, candidate over baseline.")
    size: LimitSection | None = Field(None, description="Largest INT8 model, candidate over baseline.")
    scale: RatioSection | None = Field(
        _section(RatioSection, _USUAL.scale), description="Largest change of a tensor's scale, either way, a ratio."
    )
    drift: Level | None = Field(_USUAL.drift, description="Level of an alarm that the scales moved.")
    output_noise_db: LimitSection | None = Field(
        _section(LimitSection, _USUAL.output_noise_db),
        description="Most that the output's signal-to-noise ratio may fall, dB.",
    )


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy's file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | PolicyDocument.model_json_schema()


def read_policy(path: Path) -> Policy:
    """Return the policy in a YAML file.

    Raises
    ------
    InputError
        When the file, or a CSV of slices that it names, cannot be read or holds what means nothing.
    """
    found = read_yaml(path)
    place = _Places(path)
    if not isinstance(found, dict):
        raise InputError(
            f"'{path}' must be a mapping, for instance `metrics: {{top-1: 0.5}}`; `{{}}` keeps all defaults."
        )
    try:
        document = PolicyDocument.model_validate(found)
    except ValidationError as error:
        raise InputError(place.problems(error)) from error
    return _policy(document, place)


def _policy(document: PolicyDocument, place: "_Places") -> Policy:
    drops = {
        part: {name: place.checked((part, name), partial(_drop, drop)) for name, drop in found.items()}
        for part, found in (("metrics", document.metrics), ("fp32", document.fp32))
    }
    slices = tuple(
        place.checked(("slices", i), partial(_slice, part, place.path.parent)) for i, part in enumerate(document.slices)
    )
    names = ("agreement", "coverage", "coverage_macs", "latency", "size", "scale", "output_noise_db")
    limits: dict[str, Any] = {
        name: None if found is None else place.checked((name,), partial(Limit, found.value, found.level))
        for name in names
        for found in [getattr(document, name)]
    }
    return place.checked(
        (),
        lambda: Policy(
            document.alpha,
            document.power,
            metrics=drops["metrics"],
            fp32=drops["fp32"],
            slices=slices,
            drift=document.drift,
            **limits,
        ),
    )


def _drop(drop: DropSection) -> DropLimit:
    return DropLimit(drop.maximum, drop.resolution, drop.level)


def _slice(part: SliceSection, folder: Path) -> SliceLimit:
    if part.by == LABEL and (part.file is not None or part.column is not None):
        raise UsageError(
            f"Slices by «{LABEL}» are the labels of the samples: give slices of a file another name in `by`."
        )
    if part.by != LABEL and part.file is None:
        raise UsageError(f"Slices by «{part.by}» need `file`, a CSV that tells each sample's slice.")
    members: Mapping[str, str] = {}
    if part.file is not None:
        members = read_slices(folder / part.file, part.by, part.column)
    level: Level = part.level
    return SliceLimit(part.by, members, part.maximum, part.resolution, level, part.least)


class _Places:
    """Where in a YAML file a value stands; the file is composed again for it, only once something is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checked(self, keys: tuple[str | int, ...], make: Callable[[], Value]) -> Value:
        """Return a value, or say in which line it is refused."""
        try:
            return make()
        except (UsageError, InputError) as error:
            raise InputError(f"{self.shown(keys)}: {error}") from error

    def problems(self, error: ValidationError) -> str:
        """Return what is wrong in one sentence: the first few places."""
        found = list(dict.fromkeys(self._problem(dict(item)) for item in error.errors(include_url=False)))
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return "; ".join(found[:_SHOWN]) + more + "."

    def shown(self, keys: tuple[str | int, ...]) -> str:
        """Return «'policy.yaml', line 3, `metrics.top-1`»."""
        line = self._line(keys)
        named = f", `{'.'.join(map(str, keys))}`" if keys else ""
        return f"'{self.path}'{f', line {line}' if line and keys else ''}{named}"

    def _problem(self, item: dict[str, Any]) -> str:
        place = self.shown(tuple(key for key in item["loc"] if key != "[key]"))
        if item["type"] == "extra_forbidden":
            return f"{place}: there is no such key"
        if item["type"] == "missing":
            return f"{place}: it is missing"
        text = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] in ("model_type", "dict_type") and item["loc"]:
            text = "a number or a mapping is expected" if item["type"] == "model_type" else "a mapping is expected"
        return f"{place}: {text[:1].lower()}{text[1:]} (it is {item['input']!r:.60})"

    def _line(self, keys: tuple[str | int, ...]) -> int:
        """Return the line of the deepest of these keys that the file has, from 1."""
        node = yaml.compose(self.path.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
        line = 1
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pairs = [(name, value) for name, value in node.value if getattr(name, "value", None) == str(key)]
                if not pairs:
                    break
                line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
            else:
                break
        return line
