"""A job's part that names one set of samples."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A mapping in a job: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class DataSection(Section):
    """One set of samples: its place, and what differs from the job's own settings."""

    path: str = Field(min_length=1)
    preprocess: dict[str, Any] | str | None = None
    batch: int = Field(32, ge=1, le=65536)
    input: str | None = None
    label_pattern: str | None = None
    skip_bad: bool = False
    labels: str | None = Field(None, min_length=1)


def _section(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


DataEntry = Annotated[DataSection, BeforeValidator(_section)]
"""A set, or its place alone."""
