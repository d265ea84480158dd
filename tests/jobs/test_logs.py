"""The log of JSON lines: one object a line, whole ones, begun anew when it is large."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError, MachineError, StaleError
from quantlab.jobs.explaining import SILENCE
from quantlab.jobs.logs import KEPT, JsonLog, Logged, logging_hooks, logging_run
from quantlab.jobs.training_result import Hooks
from quantlab.tuning.trial import Trial

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_line_has_time_level_event_and_what_goes_with_it(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "new" / "run.jsonl", about={"pid": 7})
    log.write("step ended", seconds=1.5, step="collect")
    log.write("run ended", "error", error="no «a»", path=Path("x"))
    one, two = lines(log.path)
    assert one.pop("time").endswith("+00:00")
    assert one == {"level": "info", "event": "step ended", "pid": 7, "seconds": 1.5, "step": "collect"}
    assert (two["level"], two["error"], two["path"]) == ("error", "no «a»", "x")


@given(JSON)
def test_whatever_is_told_is_one_line_of_strict_json(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    log = JsonLog(tmp_path_factory.mktemp("log") / "run.jsonl")
    log.write("x", value=value)

    def refuse(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    raw = log.path.read_bytes()
    assert raw.count(b"\n") == 1
    json.loads(raw, parse_constant=refuse)
    assert log.lost == 0


def test_a_later_run_appends(tmp_path: Path) -> None:
    for number in range(3):
        JsonLog(tmp_path / "run.jsonl").write("x", number=number)
    assert [line["number"] for line in lines(tmp_path / "run.jsonl")] == [0, 1, 2]


def test_a_large_log_is_begun_anew_and_old_ones_are_kept(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "run.jsonl", largest=200)
    for number in range(40):
        log.write("x", number=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run.jsonl", *(f"run.jsonl.{number}" for number in range(1, KEPT + 1))]
    assert all(path.stat().st_size < 400 for path in tmp_path.iterdir())
    kept = [line["number"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert kept == list(range(kept[0], 40))


def test_two_at_once_write_whole_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        log = JsonLog(tmp_path / "run.jsonl")
        for _ in range(50):
            log.write("x", number=number, text="y" * 500)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path / "run.jsonl")) == 200


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        JsonLog(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        JsonLog(tmp_path / "file" / "run.jsonl")


def test_a_log_that_is_lost_later_does_not_end_the_job(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "logs" / "run.jsonl")
    log.path.unlink()
    log.path.parent.rmdir()
    log.write("x")
    assert log.lost == 1


def test_steps_and_their_progress_are_logged_and_passed_on(tmp_path: Path) -> None:
    now = iter([0.0, 1.0, 6.0, 7.0, 8.0])
    log = JsonLog(tmp_path / "run.jsonl")
    heard = Logged(SILENCE, log, clock=lambda: next(now), job="j")
    tell = heard.begins(1, 9, "collect")
    for done in (10, 60, 70, 100):
        tell(done, 100)
    heard.ended(1, 9, "counted (current)", 8.0)
    found = lines(log.path)
    assert [line["event"] for line in found] == ["step begins", "progress", "progress", "step ended"]
    assert [line["done"] for line in found[1:3]] == [60, 100]
    assert (found[3]["current"], found[3]["seconds"], found[3]["step"], found[3]["job"]) == (True, 8.0, "collect", "j")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MachineError("full"), 6),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 6),
        (OSError(28, "No space left on device"), 6),
        (FileNotFoundError(2, "No such file"), 4),
        (RuntimeError("can't start new thread"), 6),
        (KeyError("own fault"), 70),
    ],
)
def test_however_a_run_ends_its_exit_code_is_logged(tmp_path: Path, error: BaseException, code: int) -> None:
    log = JsonLog(tmp_path / "run.jsonl")
    with pytest.raises(type(error)), logging_run(log, job="j"):
        raise error
    ended = lines(log.path)[-1]
    assert (ended["event"], ended["exit_code"], ended["kind"]) == ("run ended", code, type(error).__name__)


def test_a_file_that_must_not_be_read_is_logged_as_the_machines_refusal(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "run.jsonl")
    with pytest.raises(InputError), logging_run(log, job="j"):
        raise InputError("'a.npz' cannot be read.") from PermissionError(13, "Permission denied")
    assert lines(log.path)[-1]["exit_code"] == 6


def test_what_a_training_tells_is_passed_on_and_logged_now_and_then(tmp_path: Path) -> None:
    heard: list[object] = []
    now = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    log = JsonLog(tmp_path / "run.jsonl")
    hooks = logging_hooks(
        Hooks(heard.append, lambda *told: heard.append(told), heard.append), log, clock=lambda: next(now), job="j"
    )
    hooks.trial(Trial("equalize", "all pairs", "", note="not run"))
    for done in (1, 2, 3):
        hooks.watch("scoring", done, 9)
    at = SimpleNamespace(step=7, steps=10, loss=0.5, metric=None)
    hooks.learnt(at)  # type: ignore[arg-type]
    assert len(heard) == 5
    assert [(line["event"], line.get("done")) for line in lines(log.path)] == [
        ("trial", None), ("progress", 2), ("progress", 7),
    ]  # fmt: skip
    assert all(line["job"] == "j" for line in lines(log.path))


def test_an_error_is_the_last_line(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "run.jsonl")
    with pytest.raises(StaleError), logging_run(log, job="j"):
        raise StaleError("it is stale.")
    begun, ended = lines(log.path)
    assert (begun["event"], ended["event"], ended["level"]) == ("run begins", "run ended", "error")
    assert (ended["error"], ended["exit_code"], ended["kind"]) == ("it is stale.", 5, "StaleError")
