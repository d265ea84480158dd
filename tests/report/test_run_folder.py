"""A run folder as the job leaves it, in whole or in part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.comparison.comparison import Comparison
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.run_folder import RunNotes, read_notes, read_run, write_notes
from quantlab.report.run_parts import RunParts
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.storage.scale_table_json import write_scale_table
from tests.report.runs import CALIBRATION, METHODS, PROVENANCE, histogram_set, parts, tables_of


def slug(method: str) -> str:
    return method.replace(":", "-")


def write_comparison(path: Path, found: Comparison) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found.to_json()), encoding="utf-8")


def write_run(folder: Path, run: RunParts) -> None:
    assert run.histograms is not None
    write_histograms(folder / "histograms.h5", run.histograms)
    for method, table in run.tables.items():
        write_scale_table(folder / "scales" / f"{slug(method)}.json", table)
        write_comparison(folder / "tuning" / f"{slug(method)}.json", run.tuning[method])
    assert run.chosen is not None
    write_scale_table(folder / "scales.json", run.tables[run.chosen])
    assert run.final is not None
    assert run.ort is not None
    write_comparison(folder / "compare.json", run.final)
    write_comparison(folder / "compare-ort.json", run.ort)
    methods = {slug(method): method for method in run.tables}
    write_notes(folder, RunNotes(run.title, slug(run.chosen), run.max_drop, run.floats, methods))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, parts(title="A run"))
    return tmp_path


def test_a_run_folder_gives_what_its_values_gave(run: Path) -> None:
    assert read_run(run) == build(parts(title="A run"))


def test_missing_parts_are_left_out(run: Path) -> None:
    for name in ("compare.json", "compare-ort.json", "histograms.h5", "run.json"):
        (run / name).unlink()
    for path in (run / "tuning").iterdir():
        path.unlink()
    data = read_run(run)
    assert (data.score, data.others, data.floats) == (None, (), ())
    assert [row.name for row in data.methods] == sorted(slug(method) for method in METHODS)
    assert len(data.tensors) == 3
    assert all(row.sketch is None for row in data.tensors)


def test_without_notes_the_chosen_method_is_the_one_whose_scales_were_kept(run: Path) -> None:
    (run / "run.json").unlink()
    assert [row.name for row in read_run(run).methods if row.chosen] == ["squared-error"]


def test_scales_alone_are_enough(tmp_path: Path) -> None:
    write_scale_table(tmp_path / "scales.json", parts().tables["minmax"])
    data = read_run(tmp_path)
    assert [(row.name, row.chosen) for row in data.methods] == [("scales", True)]
    write_notes(tmp_path, RunNotes(chosen="minmax"))
    assert [row.name for row in read_run(tmp_path).methods] == ["minmax"]


def test_scales_left_from_another_model_or_other_data_are_no_part_of_the_run(run: Path) -> None:
    notes = read_notes(run)
    write_notes(run, replace(notes, methods={}))
    stale = {
        "model": replace(PROVENANCE, model="sha256:9"),
        "data": replace(PROVENANCE, chosen_on=(replace(CALIBRATION, digest="blake2b:99"),)),
    }
    for name, provenance in stale.items():
        write_scale_table(
            run / "scales" / f"{name}.json", tables_of(histogram_set("abc", provenance), ["minmax"])["minmax"]
        )
    assert {row.name for row in read_run(run).methods} == {slug(method) for method in METHODS}


def test_tensorrt_s_histograms_stand_in_for_the_default_ones(run: Path) -> None:
    (run / "histograms.h5").rename(run / "histograms-tensorrt.h5")
    assert read_run(run) == build(parts(title="A run"))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds nothing to report on"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "name", ["compare.json", "scales.json", "scales/minmax.json", "tuning/minmax.json", "run.json", "histograms.h5"]
)
def test_a_damaged_part_is_named(run: Path, name: str) -> None:
    (run / name).write_bytes(b'{"schema": ')
    with pytest.raises(InputError, match=Path(name).name):
        read_run(run)


def test_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    notes = RunNotes("Ümlaut </script>", "minmax", 0.25, {"a\u2028": "why"}, {"minmax": "minmax"})
    write_notes(tmp_path, notes)
    assert read_notes(tmp_path) == notes
    assert read_notes(tmp_path / "none") == RunNotes()


def test_notes_with_an_unknown_field_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema": "quantlab-run", "version": 1, "surprise": 1}')
    with pytest.raises(InputError, match="surprise"):
        read_notes(tmp_path)
