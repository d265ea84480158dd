"""Every field that a job may have, by its dotted name; what somebody meant who wrote another one."""

from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches

from quantlab.data import Preprocess
from quantlab.jobs.cache_section import CacheSection
from quantlab.jobs.data_section import DataSection, DataSets
from quantlab.jobs.job import Job
from quantlab.jobs.job_fields import MATRIX
from quantlab.jobs.training_section import TrainingSection
from quantlab.jobs.workers_section import WorkersSection


def field_names() -> tuple[str, ...]:
    """Return the dotted names, those of the file's first level first."""
    return (*Job.model_fields, MATRIX, *_within())


def meant(name: str) -> str:
    """Return « (did you mean `…`?)» for a name that is none; empty where nothing is near.

    «data_tuning» stands for data.tuning, «color» for preprocess.color, «metods» for methods.
    """
    known = field_names()
    parents, _, last = name.rpartition(".")
    spelt = [found for found in known if found.replace(".", "_") == name.replace(".", "_")]
    beside = [found for found in known if found.rpartition(".")[0] == parents]
    near = get_close_matches(name, beside, 1)
    inner = [found for found in known if found.rpartition(".")[2] == last]
    found = next(iter((*spelt, *inner, *near)), None)
    return f" (did you mean `{found}`?)" if found else ""


def _within() -> Iterator[str]:
    yield from (f"preprocess.{field.name}" for field in fields(Preprocess))
    for name in DataSets.model_fields:
        yield f"data.{name}"
        yield from (f"data.{name}.{inner}" for inner in DataSection.model_fields)
    for section, model in (("cache", CacheSection), ("workers", WorkersSection), ("qat", TrainingSection)):
        yield from (f"{section}.{inner}" for inner in model.model_fields)
