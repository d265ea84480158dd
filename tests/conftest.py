"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference material (models, data, recorded results), too large to ship."""
    folder = os.environ.get("QUANTLAB_REFERENCE")
    if not folder:
        pytest.skip("QUANTLAB_REFERENCE is unset: it names the folder of reference material")
    if not Path(folder).is_dir():
        pytest.fail(f"QUANTLAB_REFERENCE names '{folder}', which is not a folder")
    return Path(folder).resolve()
