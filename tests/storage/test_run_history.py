"""A history of runs: what is kept, by whom, and what is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from math import inf, isinf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from quantlab.errors import InputError, MachineError, UsageError
from quantlab.plots.trends import trend, trends
from quantlab.storage import run_history
from quantlab.storage.run_history import FILE, add_record, history
from quantlab.storage.run_record import LONGEST, History, RunRecord

RUN = RunRecord(
    name="fashion",
    added="2026-01-31T12:00:00+00:00",
    digest="sha256:aa",
    samples=5000,
    label="1.0",
    metric="top-1",
    unit="points",
    fp32=0.93,
    int8=0.92,
    drop=1.0,
    low=0.5,
    high=1.5,
    sqnr_db=inf,
    fp32_bytes=4_000_000,
    int8_bytes=1_000_000,
    versions={"quantlab": "0.1.0"},
)
NASTY = (
    "<img src=x onerror=alert(1)>",
    "a|b",
    "`c`",
    "$d_$",
    "\x1b[31m",
    "日本",
    "_hidden",
    "",
    "'; DROP TABLE runs; --",
)
texts = st.text(max_size=30)
numbers = st.none() | st.floats(allow_nan=False)


def edited(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / FILE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_is_added_is_read_back_in_order(tmp_path: Path) -> None:
    for i in range(3):
        record, fresh = add_record(tmp_path / "new" / "h", replace(RUN, digest=f"sha256:{i}"))
        assert (record.number, fresh) == (i + 1, True)
    found = history(tmp_path / "new" / "h")
    assert found.runs == tuple(replace(RUN, digest=f"sha256:{i}", number=i + 1) for i in range(3))
    assert isinf(found.runs[0].sqnr_db or 0)
    assert [p.name for p in (tmp_path / "new" / "h").iterdir()] == [FILE]


@settings(max_examples=25)
@given(texts, texts, numbers, st.dictionaries(texts, texts, max_size=3))
def test_any_record_survives(name: str, label: str, drop: float | None, versions: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = replace(RUN, name=name, label=label, drop=drop, versions=versions)
        added, _ = add_record(Path(folder), record)
        assert history(folder).runs == (added,)
        unchanged = {f.name for f in fields(RunRecord) if getattr(added, f.name) == getattr(record, f.name)}
        assert {"drop", "versions", "samples", "high"} <= unchanged


def test_one_run_under_one_label_is_there_once_and_keeps_the_last_verdict(tmp_path: Path) -> None:
    add_record(tmp_path, RUN)
    again, fresh = add_record(tmp_path, replace(RUN, verdict="fail", against="main"))
    assert (again.number, fresh) == (1, False)
    assert not add_record(tmp_path, RUN)[1]
    assert add_record(tmp_path, replace(RUN, label="1.1"))[1]
    assert [(run.label, run.verdict, run.against) for run in history(tmp_path).runs] == [
        ("1.0", "fail", "main"),
        ("1.1", "", ""),
    ]


def test_texts_are_cut_to_what_a_record_holds(tmp_path: Path) -> None:
    added, _ = add_record(tmp_path, replace(RUN, name="n" * 5000, label="half \ud800 pair"))
    assert (len(added.name), added.label) == (LONGEST, "half \\ud800 pair")
    assert history(tmp_path).runs == (added,)


def test_two_commands_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from quantlab.storage.run_history import add_record;"
        "from quantlab.storage.run_record import RunRecord\n"
        "for i in range(20): add_record(Path(sys.argv[1]), RunRecord('n', 'now', f'{sys.argv[2]} {i}', 1))"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), who]) for who in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    runs = history(tmp_path).runs
    assert [run.number for run in runs] == list(range(1, 41))
    assert {run.digest for run in runs} == {f"{who} {i}" for who in "ab" for i in range(20)}


def test_a_writer_that_does_not_end_is_named_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_record(tmp_path, RUN)
    monkeypatch.setattr(run_history, "WAIT_S", 0.05)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MachineError, match="Another command has held"):
        add_record(tmp_path, replace(RUN, label="later"))
    other.close()
    assert len(history(tmp_path).runs) == 1


def test_an_error_leaves_the_history_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_record(tmp_path, RUN)
    before = (tmp_path / FILE).read_bytes()
    monkeypatch.setattr(run_history, "MOST", 1)
    with pytest.raises(InputError, match="as many as it takes"):
        add_record(tmp_path, replace(RUN, label="more"))
    assert (tmp_path / FILE).read_bytes() == before


def test_more_rows_than_a_history_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in "ab":
        add_record(tmp_path, replace(RUN, label=label))
    monkeypatch.setattr(run_history, "MOST", 1)
    with pytest.raises(InputError, match="more than 1 runs"):
        history(tmp_path)


def test_no_history_says_how_one_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`quantlab history add RUN` begins one"):
        history(tmp_path)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(200), b"\xff" * 4096])
def test_a_damaged_file_is_one_sentence_and_stays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    for use in (lambda: history(tmp_path), lambda: add_record(tmp_path, RUN)):
        with pytest.raises(InputError, match="no history, or it is damaged"):
            use()
    assert (tmp_path / FILE).read_bytes() == content


def test_an_empty_file_is_a_history_that_was_not_begun(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    with pytest.raises(InputError, match="another program's file"):
        history(tmp_path)
    assert add_record(tmp_path, RUN)[1]


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    for i in range(200):
        add_record(tmp_path, replace(RUN, label=f"{i} {'x' * 200}"))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        history(tmp_path)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    edited(tmp_path, "CREATE TABLE runs (number INTEGER)")
    with pytest.raises(InputError, match="another program's file"):
        add_record(tmp_path, RUN)
    with pytest.raises(InputError, match="another program's file"):
        history(tmp_path)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA user_version = 2", "written by a newer quantlab"),
        ("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END", "its table is not as quantlab makes it"),
        ("ALTER TABLE runs ADD COLUMN more TEXT", "its table is not as quantlab makes it"),
        ("UPDATE runs SET samples = 'many'", "field «samples» is 'many'"),
        ("UPDATE runs SET fp32 = x'00'", "edited or damaged"),
        ("UPDATE runs SET verdict = 'maybe'", "field «verdict»"),
        ("UPDATE runs SET versions = '[1]'", "field «versions»"),
        ("UPDATE runs SET versions = '{'", "edited or damaged"),
        ("UPDATE runs SET name = NULL", "field «name»"),
        ("UPDATE runs SET name = printf('%.*c', 70000, 'x')", "a text is too long"),
    ],
)
def test_an_edited_history_is_refused(tmp_path: Path, statement: str, words: str) -> None:
    add_record(tmp_path, RUN)
    edited(tmp_path, statement)
    with pytest.raises(InputError, match=words):
        history(tmp_path)


def test_a_file_too_large_to_be_one_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_record(tmp_path, RUN)
    monkeypatch.setattr(run_history, "LARGEST", 100)
    with pytest.raises(InputError, match="a history has at most 100"):
        history(tmp_path)


def test_a_folder_in_the_files_place_and_a_file_in_the_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / FILE).mkdir(parents=True)
    with pytest.raises(InputError, match="is no file, so no history"):
        add_record(tmp_path / "a", RUN)
    (tmp_path / "b").touch()
    with pytest.raises(MachineError, match="cannot be made"):
        add_record(tmp_path / "b", RUN)


def test_the_frame_has_a_line_a_run_and_html_escapes_names(tmp_path: Path) -> None:
    for i, name in enumerate(NASTY):
        add_record(tmp_path, replace(RUN, name=name, label=str(i)))
    found = history(tmp_path)
    frame = found.frame()
    assert list(frame.index) == list(range(1, len(NASTY) + 1))
    assert list(frame["name"]) == list(NASTY)
    assert frame["drop"].tolist() == [1.0] * len(NASTY)
    assert "<img" not in found._repr_html_()
    assert "&lt;img" in found._repr_html_()
    assert History(tmp_path, ()).frame().empty


def test_plots_show_strangers_names_as_they_are(tmp_path: Path) -> None:
    for i, name in enumerate(NASTY):
        add_record(tmp_path, replace(RUN, name=name, label=str(i), drop=float(i)))
    found = history(tmp_path)
    axes = trend(found)
    axes.figure.canvas.draw()
    assert len(axes.lines) == len(NASTY)
    assert axes.get_ylabel() == "top-1 lost by INT8, points"
    shown = axes.get_legend()
    assert shown is not None
    assert [text.get_text() for text in shown.get_texts()][:4] == [*NASTY[:3], r"\$d_\$"]
    assert trend(found, "size", ax=axes) is axes
    plt.close("all")


def test_a_panel_a_figure_that_is_known(tmp_path: Path) -> None:
    runs = tuple(replace(RUN, number=i, sqnr_db=30.0 + i) for i in (1, 2))
    labels = [axes.get_ylabel() for axes in trends(History(tmp_path, runs)).axes]
    assert labels == ["top-1 lost by INT8, points", "top-1", "SQNR of the output, dB", "model file, MB"]
    bare = RunRecord("n", "now", "d", 1)
    with pytest.raises(UsageError, match="nothing to draw"):
        trends(History(tmp_path, (bare,)))
    with pytest.raises(UsageError, match="not «speed»"):
        trend(History(tmp_path, runs), "speed")  # type: ignore[arg-type]
    assert History(tmp_path, runs).of("other").runs == ()
