"""Data scripts: a Python file with load_data()."""

import sys
from pathlib import Path

import numpy as np
import pytest

from quantlab.data import script
from quantlab.errors import InputError

LOADER = """
import numpy as np

def load_data():
    for start in range(3):
        yield {"x": np.full((2, 4), start, np.float32)}

def none():
    return 7

def needs(path):
    return []

number = 3
"""


@pytest.fixture
def loader(tmp_path: Path) -> Path:
    path = tmp_path / "street.py"
    path.write_text(LOADER)
    return path


def test_load_data_is_called_once_a_pass(loader: Path) -> None:
    data = script(loader)
    assert [batch["x"][0, 0] for batch in data] == [batch["x"][0, 0] for batch in data] == [0, 1, 2]
    assert (data.identity.name, data.identity.count) == ("street", 6)


def test_another_function_can_be_named(loader: Path) -> None:
    loader.write_text("def night():\n    return [{'x': [[1.0]]}]\n")
    (batch,) = script(f"{loader}:night", name="night")
    np.testing.assert_array_equal(batch["x"], [[1.0]])


def test_a_script_imports_the_files_beside_it(loader: Path) -> None:
    (loader.parent / "beside_street.py").write_text("VALUE = 5\n")
    loader.write_text("import beside_street as b\ndef load_data():\n    return [{'x': [[b.VALUE]]}]\n")
    before = list(sys.path)
    (batch,) = script(loader)
    assert batch["x"].tolist() == [[5]]
    assert sys.path == before


def test_no_bytecode_is_left_beside_the_script(loader: Path) -> None:
    script(loader)
    assert list(loader.parent.iterdir()) == [loader]


def test_a_script_may_define_dataclasses(loader: Path) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    loader.write_text(text + LOADER)
    assert len(list(script(loader))) == 3


def test_errors_of_the_users_own_code_come_through(loader: Path) -> None:
    loader.write_text("def load_data():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        list(script(loader))


@pytest.mark.parametrize(
    ("text", "suffix", "sentence"),
    [
        ("x = 1", "", r"has no load_data\(\): it must define `def load_data\(\):` that yields"),
        (LOADER, ":nowhere", r"has no nowhere\(\): it must define"),
        (LOADER, ":number", "«number» in the data script .* is no function"),
        (LOADER, ":needs", r"needs\(\) in the data script .* needs arguments .missing a required argument"),
        ("def load_data(:", "", "cannot be read as Python: .*line 1"),
        ("\0", "", "cannot be read as Python"),
        ("import no_such_module_here", "", "could not be loaded: No module named 'no_such_module_here'"),
        ("open('/no/such/file')", "", "could not be loaded: .*No such file"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused(loader: Path, text: str, suffix: str, sentence: str) -> None:
    loader.write_text(text)
    with pytest.raises(InputError, match=sentence):
        script(f"{loader}{suffix}")


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no Python file .*gone\.py"):
        script(tmp_path / "gone.py")


def test_a_function_that_yields_no_batches_is_refused(loader: Path) -> None:
    with pytest.raises(InputError, match=r"«street» returned a value of type int; .* \{input name: array\}"):
        list(script(f"{loader}:none"))
    loader.write_text("def load_data():\n    yield [1, 2]\n")
    with pytest.raises(InputError, match=r"Batch 0 of «street» is a value of type list; it must be \{input name"):
        list(script(loader))
