"""The notebooks: stripped, on the public API alone, and every one runs from a fresh folder."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import quantlab as ql

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ALLOWED = {"gzip", "json", "matplotlib", "numpy", "pandas", "pathlib", "quantlab", "tempfile"}
"""What a cell may import: quantlab, what lays its tables and axes out, and what finds files."""

HELPERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work|opt|tmp|usr|var|mnt)/|[A-Z]:\\\\", re.ASCII)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in document["cells"] if cell["cell_type"] == kind]


def tree(path: Path) -> ast.Module:
    return ast.parse("\n\n".join("".join(cell["source"]) for cell in cells(path, "code")))


def dotted(node: ast.expr) -> tuple[str, ...]:
    """Return a chain of attributes that begins with a plain name; nothing for any other expression."""
    if isinstance(node, ast.Name):
        return (node.id,)
    return (*dotted(node.value), node.attr) if isinstance(node, ast.Attribute) and dotted(node.value) else ()


def quantlab_names(path: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree(path)):
        chain = dotted(node) if isinstance(node, ast.Attribute) else ()
        if chain[:1] == ("ql",):
            yield chain[1:]


def test_the_five_notebooks_are_there() -> None:
    assert NAMES == [
        "01_collect_and_look.ipynb",
        "02_choose_thresholds.ipynb",
        "03_ptq_vs_fp32.ipynb",
        "04_qat.ipynb",
        "05_engines_on_a_gpu.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_holds_no_output_and_no_trace_of_a_run(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["metadata"] == METADATA
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    for cell in document["cells"]:
        assert cell["metadata"] == {}
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_names_no_place_on_a_machine(path: Path) -> None:
    assert not MACHINE_PATH.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_uses_public_names_alone(path: Path) -> None:
    used = set(quantlab_names(path))
    assert used
    for first, *rest in used:
        assert first in ql.__all__, f"ql.{first}"
        if rest and first in ("data", "engines", "plots", "qat"):
            assert rest[0] in dir(getattr(ql, first)), f"ql.{first}.{rest[0]}"
    private = [node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr[0] == "_"]
    assert not private


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_imports_quantlab_whole_and_little_else(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] in ALLOWED
                assert alias.name != "quantlab" or alias.asname == "ql"
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.split(".")[0] in ALLOWED - {"quantlab"}
            assert not node.module.startswith("matplotlib") or [a.name for a in node.names] == ["pyplot"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_no_cell_needs_a_helper(path: Path) -> None:
    assert not [node for node in ast.walk(tree(path)) if isinstance(node, HELPERS)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_what_the_prose_says_is_asserted(path: Path) -> None:
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree(path))) >= 3
    assert cells(path, "markdown")[0]["source"][0].startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_and_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    if not all(find_spec(package) for package in ("nbmake", "ipykernel", "ipywidgets")):
        pytest.skip("running notebooks needs nbmake and pip install 'quantlab[notebooks]'")
    if "ql.qat." in path.read_text(encoding="utf-8") and not find_spec("torch"):
        pytest.skip(f"{path.name} trains with PyTorch, which is not installed: pip install 'quantlab[qat]'")
    clone = tmp_path / "clone"
    (clone / "notebooks").mkdir(parents=True)
    shutil.copy(path, clone / "notebooks")
    shutil.copytree(ROOT / "calib_data", clone / "calib_data", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "reports" / "gpu", clone / "reports" / "gpu")
    before = contents(clone)
    done = run(clone / "notebooks" / path.name, tmp_path / "jupyter")
    assert done.returncode == 0, done.stdout[-6000:]
    assert contents(clone) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(notebook: Path, jupyter: Path) -> subprocess.CompletedProcess[str]:
    """Execute a notebook as `pytest --nbmake` does, with this interpreter's own kernel and no settings of a user's."""
    # A user's kernel «python3» would go before this environment's.
    own = {"JUPYTER_DATA_DIR": str(jupyter), "JUPYTER_CONFIG_DIR": str(jupyter), "IPYTHONDIR": str(jupyter / "ipython")}
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = ["-m", "pytest", "--nbmake", "--nbmake-timeout=600", "-p", "no:cacheprovider", "-q", notebook.name]
    return subprocess.run(
        [sys.executable, *command],
        cwd=notebook.parent,
        env=os.environ | own | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
