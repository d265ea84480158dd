"""A job's part that names its sets of samples."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A mapping in a job: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class DataSection(Section):
    """One set of samples: its place, and what differs from the job's own settings.

    Attributes
    ----------
    path
        A folder of images, a list or manifest of images, a .npz, .npy or .h5 file, or «loader.py:function».
    preprocess
        Of this set, where it is not the job's.
    batch
        Samples read at a time.
    input
        The model's input, where the data do not name it and the model has several.
    label_pattern
        Regular expression with one group: the label in an image's file name.
    skip_bad
        Leave unreadable images out, and count them.
    labels
        A file of labels that are not one integer a sample.
    """

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


class DataSets(Section):
    """The three sets.

    Attributes
    ----------
    calibration
        Counts the histograms.
    tuning
        Compares the methods.
    evaluation
        Scores the result, once.
    """

    calibration: DataEntry
    tuning: DataEntry | None = None
    evaluation: DataEntry | None = None
