"""`quantlab regress`: the verdict first, exit codes, files, and one sentence for what cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from quantlab.regression.regression import Regression
from tests.cli.workplace import Ended, done, quantlab, refused
from tests.jobs import gate_place


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs; nobody writes into it."""
    return gate_place.runs(tmp_path_factory.getbasetemp()) / "runs"


def regress(runs: Path, candidate: str | Path, *more: object) -> Ended:
    return quantlab("regress", "--baseline", runs / "main", "--candidate", runs / candidate, *more)


def written(tmp_path: Path, policy: str) -> Path:
    (tmp_path / "policy.yaml").write_text(policy)
    return tmp_path / "policy.yaml"


def test_pass_is_0_and_the_first_line_says_so(runs: Path) -> None:
    ended = regress(runs, "again")
    assert ended.code == 0
    assert ended.out.startswith("May ship: «again» gives the same outputs as «main», bit for bit, on 300 samples.")
    assert "nothing that is known of" in ended.out
    assert ended.out.splitlines()[1].split()[:3] == ["check", "┃", "state"]


def test_fail_is_1_and_says_what_hurts(runs: Path) -> None:
    ended = regress(runs, "worse")
    assert ended.code == 1
    assert ended.out.startswith("Must not ship: top-1 falls from")
    assert "tensors whose scale moved too far" in ended.out
    assert "samples got worse: evaluation[" in ended.out


def test_a_warning_is_0(runs: Path, tmp_path: Path) -> None:
    policy = written(tmp_path, "agreement: {value: 1, level: warn}")
    ended = regress(runs, "again", "--policy", policy)
    assert (ended.code, ended.out.split(":")[0]) == (0, "May ship, with a warning")


def test_inconclusive_is_3_and_says_how_many_samples_would_decide(runs: Path, tmp_path: Path) -> None:
    policy = written(tmp_path, "fp32: {top-1: {maximum: 0, resolution: 0.05}}")
    ended = regress(runs, "again", "--policy", policy, "--json")
    assert ended.code == 3
    assert (ended.json["verdict"], ended.json["exit_code"]) == ("inconclusive", 3)
    words = regress(runs, "again", "--policy", policy)
    assert words.out.startswith("Cannot be told yet")
    assert "samples would decide; these runs share 300" in words.out


def test_every_file_is_written_and_read_by_what_it_is_for(runs: Path, tmp_path: Path) -> None:
    files = {"-o": "r.json", "--html": "r.html", "--markdown": "r.md", "--junit": "r.xml"}
    options = [part for option, name in files.items() for part in (option, tmp_path / "out" / name)]
    ended = regress(runs, "worse", *options)
    assert ended.code == 1
    assert all(f"{name} written." in ended.out for name in files.values())
    assert Regression.from_json((tmp_path / "out" / "r.json").read_text(encoding="utf-8")).verdict == "fail"
    assert ET.parse(tmp_path / "out" / "r.xml").getroot().attrib["failures"] != "0"
    assert (tmp_path / "out" / "r.md").read_text(encoding="utf-8").startswith("### ❌")
    assert "Must not ship" in (tmp_path / "out" / "r.html").read_text(encoding="utf-8")
    assert regress(runs, "worse", *options).out.count("is current: nothing changed") == 4
    stale = regress(runs, "again", *options)
    assert (stale.code, "is stale" in stale.err) == (5, True)
    assert regress(runs, "again", *options, "--force").code == 0


def test_json_is_one_object_and_quiet_prints_nothing(runs: Path) -> None:
    found = regress(runs, "worse", "--json")
    assert (found.code, found.json["verdict"], found.json["files"], found.json["history"]) == (1, "fail", {}, None)
    quiet = regress(runs, "worse", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", "")


def test_the_candidate_goes_into_a_history_with_its_verdict(runs: Path, tmp_path: Path) -> None:
    for candidate, number in (("again", 1), ("worse", 2), ("again", 1)):
        ended = regress(runs, candidate, "--history", tmp_path / "h", "--label", "1.0")
        assert f"Run {number} of the history" in ended.out
    listed = done("history", "list", "--history", tmp_path / "h", "--json").json["runs"]
    assert [(run["label"], run["verdict"], run["against"]) for run in listed] == [
        ("1.0", "pass", "main"),
        ("1.0", "fail", "main"),
    ]


def test_the_schema_of_a_policy_is_printed_without_runs() -> None:
    schema = json.loads(done("regress", "--policy-schema").out)
    assert "metrics" in schema["properties"]


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (4, ("--candidate", "gone"), "There is no run 'gone'"),
        (4, ("--policy", "gone.yaml"), "There is no file 'gone.yaml'"),
        (2, ("--html", "page.txt"), "must end in .html or .htm"),
        (2, ("-o", "a.json", "--label", "x"), "give --history FOLDER"),
        (4, ("--policy", "@alfa: 1"), "line 1, `alfa`: there is no such key"),
        (2, ("--policy", "@metrics: {top-9: 1}"), "top-9"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    runs: Path, tmp_path: Path, code: int, arguments: tuple[str, ...], words: str
) -> None:
    given = [written(tmp_path, text[1:]) if text.startswith("@") else text for text in arguments]
    base = ("regress", "--baseline", runs / "main", "--candidate", runs / "again")
    assert words in refused(code, *base, *given)


def test_a_run_without_samples_is_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "main", tmp_path / "bare")
    (tmp_path / "bare" / "compare.samples.h5").unlink()
    assert "compare.samples.h5" in refused(4, "regress", "--baseline", runs / "main", "--candidate", tmp_path / "bare")
    assert refused(4, "regress", "--baseline", tmp_path, "--candidate", runs / "main")
