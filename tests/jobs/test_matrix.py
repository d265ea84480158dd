"""A matrix: which jobs it is, what its cells share, and that one which fails stops none of the others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.jobs.explaining import SILENCE
from quantlab.jobs.job_fields import JobFields, read_fields
from quantlab.jobs.job_file import read_job
from quantlab.jobs.job_problems import problems_of
from quantlab.jobs.matrix import read_matrix, run_matrix
from quantlab.jobs.matrix_section import Cell, cells_of
from quantlab.jobs.matrix_table import columns_of, rows_of
from quantlab.jobs.run_facts import verified
from quantlab.jobs.run_result import CellResult, MatrixResult
from tests.cli.workplace import furnish

BASE: dict[str, Any] = {"model": "m.onnx", "output": "grid", "data": {"calibration": "c.npz"}}


def fields(matrix: Any, **more: Any) -> JobFields:
    return JobFields(Path("job.yaml"), BASE | more | {"matrix": matrix})


def test_every_combination_is_a_job_with_its_own_folder() -> None:
    cells = cells_of(
        fields({"model": ["nets/a.onnx", "b.onnx"], "target": ["tensorrt@8.6", "ort"], "method": ["minmax"]})
    )
    assert [cell.name for cell in cells] == [
        "a_tensorrt-8.6_minmax", "a_ort_minmax", "b_tensorrt-8.6_minmax", "b_ort_minmax",
    ]  # fmt: skip
    first = cells[0].fields.values
    assert (first["model"], first["target"], first["methods"], first["choose"]) == (
        "nets/a.onnx", "tensorrt@8.6", ["minmax"], "minmax",
    )  # fmt: skip
    assert first["output"] == "grid/a_tensorrt-8.6_minmax"
    assert "matrix" not in first


def test_what_is_for_tensorrt_alone_is_left_out_for_ort() -> None:
    trt, ort = cells_of(fields({"target": ["tensorrt", "ort"]}, cache={}, ort=True))
    assert (trt.fields.values["cache"], trt.fields.values["ort"]) == ({}, True)
    assert (ort.fields.values["cache"], ort.fields.values["ort"]) == (None, False)


@given(
    st.dictionaries(
        st.sampled_from(["target", "head", "weights", "max_drop", "data.tuning"]),
        st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True),
        min_size=1,
    ),
    st.data(),
)
def test_there_are_as_many_cells_as_combinations_less_the_excluded(
    axes: dict[str, list[str]], data: st.DataObject
) -> None:
    count = prod(map(len, axes.values()))
    assert len(cells_of(fields(axes))) == count
    axis = data.draw(st.sampled_from(sorted(axes)))
    value = data.draw(st.sampled_from(axes[axis]))
    excluded = count // len(axes[axis])
    matrix = {**axes, "exclude": [{axis: value}]}
    if excluded == count:
        with pytest.raises(InputError, match="leaves no combination"):
            cells_of(fields(matrix))
    else:
        cells = cells_of(fields(matrix))
        assert len(cells) == count - excluded
        assert all(cell.choices[axis] != value for cell in cells)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([], "a mapping of fields to lists"),
        ({}, "it lists no field"),
        ({"target": "ort"}, "matrix`.target: a list of values is expected"),
        ({"target": []}, "a list of values is expected"),
        ({"output": ["a", "b"]}, "a matrix cannot have `output`"),
        ({"target": ["ort"], "exclude": [{"target": "x"}]}, "`target` has no value"),
        ({"target": ["ort"], "exclude": {"target": "ort"}}, "a list of mappings is expected"),
        ({"target": ["ort", "ort"]}, "two cells of `matrix` would both be called «ort»"),
        ({"model": ["a/net.onnx", "b/net.onnx"]}, "both be called «net»"),
        ({"target": list(map(str, range(40))), "head": list(map(str, range(40)))}, "1,600 combinations; 1,000 are the most"),
        ({"model.name": ["x"]}, "`model` is no mapping"),
    ],
)  # fmt: skip
def test_a_bad_matrix_is_one_sentence(matrix: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        cells_of(fields(matrix))
    assert words in str(caught.value)


def test_a_matrix_of_trainings_is_refused_by_every_command_with_a_way_out(tmp_path: Path) -> None:
    training = {"module": "net.py:build", "train": "c.npz"}
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(BASE | {"max_drop": 1, "qat": training, "matrix": {"target": ["tensorrt", "ort"]}}))
    with pytest.raises(InputError, match="one job at a time; give --set qat=null"):
        read_matrix(read_fields(path))
    assert [problem.field for problem in problems_of(path)] == ["matrix"]
    assert len(cells_of(read_fields(path, ("qat=null",)))) == 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.dates(), inner, max_size=3)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["target", "method", "methods", "model", "data", "data.tuning", "exclude", "a.b.c", "output"]
) | st.text(max_size=4)


@given(VALUES | st.dictionaries(NAMES, st.lists(VALUES, max_size=3) | VALUES, max_size=4))
def test_whatever_a_matrix_is_it_is_cells_or_one_sentence(matrix: Any) -> None:
    cells: tuple[Cell, ...] = ()
    refusal = ""
    try:
        cells = cells_of(fields(matrix))
    except InputError as error:
        refusal = str(error)
    assert bool(cells) != bool(refusal)
    assert "\n" not in refusal
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", cell.name) for cell in cells)
    rows = rows_of(MatrixResult(Path(), tuple(CellResult(cell) for cell in cells)))
    assert len(json.loads(json.dumps(rows, allow_nan=False))) == len(cells)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = furnish(tmp_path_factory.mktemp("matrix"))
    job = yaml.safe_load((folder / "job.yaml").read_text())
    job |= {"output": "grid", "ort": False, "data": {"calibration": "calibration.npz", "evaluation": "evaluation.npz"}}
    for name in ("methods", "choose", "model"):
        del job[name]
    job["matrix"] = {"model": ["model.onnx", "gone.onnx"], "method": ["minmax", "entropy"]}
    job["matrix"]["exclude"] = [{"model": "gone.onnx", "method": "entropy"}]
    (folder / "grid.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return folder


def run(folder: Path) -> MatrixResult:
    return run_matrix(read_matrix(read_fields(folder / "grid.yaml")), listener=lambda _cell: SILENCE)


@pytest.fixture(scope="module")
def found(place: Path) -> MatrixResult:
    return run(place)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_a_cell_that_fails_stops_no_other_and_tells_by_the_exit_code(place: Path, found: MatrixResult) -> None:
    assert [cell.standing for cell in found.cells] == ["passed", "passed", "failed"]
    assert found.exit_code == 4
    assert "gone.onnx" in str(found.cells[2].error)
    assert all(verified(place / "grid" / name) == () for name in ("model_minmax", "model_entropy"))


def test_the_table_has_a_row_a_cell_and_the_page_its_links(place: Path, found: MatrixResult) -> None:
    table = json.loads((place / "grid" / "matrix.json").read_text())
    assert [row["cell"] for row in table["cells"]] == [cell.cell.name for cell in found.cells]
    assert [row["report"] for row in table["cells"]] == ["model_minmax/report.html", "model_entropy/report.html", None]
    assert table["cells"][0]["choices"] == {"model": "model.onnx", "method": "minmax"}
    heads, rows = columns_of(table["cells"])
    assert len(set(heads)) == len(heads)
    assert str(rows[0][heads.index("agreement")]).endswith(" %")
    page = (place / "grid" / "matrix.html").read_text()
    assert '<a href="model_entropy/report.html">' in page
    assert "gone.onnx" in page


def test_histograms_of_the_same_model_and_data_are_counted_once(place: Path, found: MatrixResult) -> None:
    first, second = (cell.result for cell in found.cells[:2])
    assert first is not None
    assert second is not None
    assert first.artefacts[0].fresh
    assert not second.artefacts[0].fresh
    assert first.artefacts[0].path.read_bytes() == second.artefacts[0].path.read_bytes()


def test_a_second_run_changes_nothing(place: Path, found: MatrixResult) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in files(place / "grid")}

    before = times()
    assert [cell.standing for cell in run(place).cells] == [cell.standing for cell in found.cells]
    assert times() == before


def test_one_job_is_not_read_from_a_matrix(place: Path) -> None:
    with pytest.raises(InputError, match="only `quantlab run` carries them out"):
        read_job(place / "grid.yaml")


def test_a_matrix_whose_cells_are_all_no_jobs_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match="Unknown target"):
        read_matrix(read_fields(place / "grid.yaml", ("target=foo",)))


def test_a_folder_with_a_run_of_its_own_is_refused(place: Path, found: MatrixResult) -> None:
    with pytest.raises(InputError, match="holds a run"):
        run_matrix(
            read_matrix(read_fields(place / "grid.yaml", ("output=grid/model_minmax",))), listener=lambda _cell: SILENCE
        )
