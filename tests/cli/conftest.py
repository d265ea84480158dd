"""Folders to work in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.workplace import DECLARED, done, furnish


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model, data, and the artefacts of every step; nobody writes into it."""
    folder = furnish(tmp_path_factory.mktemp("furnished"))
    data = folder / "calibration.npz"
    done("collect", folder / "model.onnx", "-d", data, *DECLARED, "--expose", "all", "-o", folder / "histograms.h5")
    done("calibrate", folder / "histograms.h5", "-o", folder / "scales.json")
    done("quantize", folder / "model.onnx", folder / "scales.json", "-o", folder / "int8.onnx")
    done("cache", "convert", folder / "scales.json", "--model", folder / "model.onnx", "-o", folder / "int8.cache")
    return folder


@pytest.fixture
def place(furnished: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test."""
    shutil.copytree(furnished, tmp_path / "place")
    return tmp_path / "place"
