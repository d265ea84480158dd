from __future__ import annotations

import doctest
import subprocess
import sys

import quantlab

HEAVY = (
    "onnx",
    "onnxruntime",
    "h5py",
    "pandas",
    "matplotlib",
    "numba",
    "scipy",
    "torch",
    "tensorrt",
    "typer",
    "jinja2",
)


def test_importing_quantlab_loads_no_runtime() -> None:
    code = f"import sys, quantlab; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert sorted(quantlab.__all__) == sorted([*quantlab._HOMES, *quantlab._PACKAGES])
    for name in quantlab.__all__:
        assert getattr(quantlab, name) is not None
    assert set(quantlab.__all__) <= set(dir(quantlab))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(quantlab, "no_such_name")


def test_the_examples_in_the_docstring_are_true() -> None:
    assert doctest.testmod(quantlab).failed == 0
