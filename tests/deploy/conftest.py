"""A run to deploy, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.workplace import done, furnish


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job has run; nobody writes into it."""
    folder = furnish(tmp_path_factory.mktemp("deployed"))
    done("run", folder / "job.yaml")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test."""
    shutil.copytree(finished, tmp_path / "place")
    return tmp_path / "place"
