"""The page on jobs names every field, every exit code of `quantlab run`, and no field that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quantlab.cli.help_text import EXIT_CODES
from quantlab.jobs.field_names import field_names
from quantlab.jobs.job_schema import job_schema

PAGE = (Path(__file__).parents[2] / "notebooks" / "jobs.md").read_text(encoding="utf-8")
FIELDS = PAGE.partition("## Fields")[2].partition("**Who")[0]


@pytest.mark.parametrize("name", sorted(job_schema()["properties"]))
def test_every_field_is_named(name: str) -> None:
    assert f"`{name}`" in FIELDS


def test_no_field_is_named_that_there_is_not() -> None:
    known = {part for name in field_names() for part in name.split(".")}
    assert set(re.findall(r"`([a-z_]+)`", FIELDS)) <= known


def test_what_is_set_in_examples_is_a_field() -> None:
    given = re.findall(r"--set '?([a-z_.]+)=", PAGE)
    assert given
    assert set(given) <= set(field_names())


def test_every_exit_code_has_its_row() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert rows == set(EXIT_CODES)
