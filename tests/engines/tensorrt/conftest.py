"""TensorRT-RTX for the tests: the real library, which parses and builds plans without a GPU."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.engines.tensorrt.oracle import Oracle


@pytest.fixture(scope="session")
def rtx() -> Oracle:
    """The parser and builder; in CI a skip for want of it is a failure, as its reason is not an allowed one."""
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("needs TensorRT-RTX: install the package tensorrt-rtx-cu13")
    return Oracle()
