"""Progress: rate and time left on stderr, silence where it is not wanted."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from quantlab.cli import phases as waiting
from quantlab.cli import progress as module
from quantlab.cli.console import Output, cell, print_error, printable
from quantlab.cli.progress import progress


def test_a_log_tells_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter([0.0, 1.9, 5.0, 14.9, 20.0])
    with progress("collecting", quiet=False, clock=lambda: next(now)) as advance:
        advance(100, 1000)
        advance(200, 1000)
        advance(300, 1000)
        advance(400, 1000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "collecting: 200 of 1,000 samples, 40/s, 20 s left\ncollecting: 400 of 1,000 samples, 20/s, 30 s left\n"
    )


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(module, "stderr", lambda: Console(file=screen, force_terminal=True, width=100))
    with progress("[1/9] collect", quiet=False) as advance:
        advance(7, None)
    assert "[1/9] collect" in screen.getvalue()
    assert "7 samples" in screen.getvalue()


def test_a_terminal_in_which_nothing_moves_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    dumb = Console(file=screen, force_terminal=True, width=100, color_system=None, _environ={"TERM": "dumb"})
    monkeypatch.setattr(module, "stderr", lambda: dumb)
    now = iter([0.0, 3.0])
    with progress("collecting", quiet=False, clock=lambda: next(now)) as advance:
        advance(30, 60)
    assert screen.getvalue() == "collecting: 30 of 60 samples, 10/s, 3 s left\n"


def test_a_terminal_sees_that_a_step_without_samples_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        waiting, "stderr", lambda: Console(file=screen, force_terminal=True, width=100, color_system=None)
    )
    with waiting.phases("calibrating", quiet=False):
        pass
    assert "calibrating 0:00:00" in screen.getvalue()


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("collecting", quiet=True) as advance:
        advance(1, 2)
    out = Output(quiet=True)
    out.say("x")
    out.note("x")
    out.table(("a",), [("b",)])
    assert capsys.readouterr() == ("", "")


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "conv\x1b[31m\x07\udc80[red]x[/red]"
    Output().say(hostile)
    Output().table(("tensor",), [(hostile,)])
    print_error(hostile)
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert captured.out.count(r"conv\x1b[31m\x07\udc80[red]x[/red]") == 2
    assert printable("äöü «x»\n") == "äöü «x»\n"


def test_numbers_in_cells() -> None:
    assert [cell(v) for v in (None, 1234567, 0.123456, float("inf"), True, "x")] == [
        "–", "1,234,567", "0.1235", "inf", "True", "x"]  # fmt: skip


def test_json_holds_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({"db": float("inf"), "name": "«", "path": sys.prefix})
    assert '"db": "inf"' in capsys.readouterr().out
