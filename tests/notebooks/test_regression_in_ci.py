"""The GitHub Actions example: its steps are well formed, and their shell lines do what they say on a small repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantlab.jobs.policy_file import read_policy
from tests.jobs.gate_place import PREPROCESS, SHIPPED, write_sets

FOLDER = Path(__file__).parents[2] / "notebooks" / "regression_in_ci"
WORKFLOW: dict[Any, Any] = yaml.safe_load((FOLDER / "quantlab.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["gate"]["steps"]
SHELL = {step["id"]: step["run"] for step in STEPS if "run" in step and "id" in step}


def test_the_workflow_runs_on_pull_requests_and_keeps_mains_run() -> None:
    events = WORKFLOW[True]  # YAML 1.1 reads the key «on» as true
    assert events == {"push": {"branches": ["main"]}, "pull_request": {"branches": ["main"]}}
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_every_step_is_a_pinned_action_or_a_shell_line_that_takes_no_strangers_text() -> None:
    for step in STEPS:
        assert set(step) <= {"name", "id", "if", "uses", "with", "env", "run"}
        assert ("uses" in step) != ("run" in step)
        assert "${{" not in step.get("run", ""), "what a pull request is called would become shell code"
        if "uses" in step:
            assert step["uses"].startswith("actions/")
            assert step["uses"].partition("@")[2].startswith("v")
    assert list(SHELL) == ["run-baseline", "run-candidate", "regress", "summary"]


def test_the_result_is_told_whatever_it_is() -> None:
    assert {step["name"] for step in STEPS if "always()" in step.get("if", "")} == {
        "Tell the result",
        "Keep the report",
    }


def test_the_policy_is_valid() -> None:
    policy = read_policy(FOLDER / "policy.yaml")
    assert policy.metrics["top-1"].maximum == 0.5
    assert policy.slices[0].level == "warn"


class Repository:
    """A repository with a job, and what a runner gives its steps."""

    def __init__(self, folder: Path) -> None:
        self.root, self.temporary = folder / "repository", folder / "temporary"
        self.summary = folder / "summary.md"
        for path in (self.root / "int8", self.temporary, folder / "bin", folder / "home"):
            path.mkdir(parents=True)
        command = folder / "bin" / "quantlab"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quantlab "$@"\n')
        command.chmod(0o755)
        who = {f"GIT_{role}_{what}": "x@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.environment = (
            os.environ
            | who
            | WORKFLOW["env"]
            | {
                "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(FOLDER.parents[1]),
                "HOME": str(folder / "home"),
                "RUNNER_TEMP": str(self.temporary),
                "GITHUB_STEP_SUMMARY": str(self.summary),
            }
        )
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def job(self, **changes: object) -> None:
        fields = {"model": "net.onnx", "output": "run", "preprocess": PREPROCESS, "methods": ["minmax"]}
        data = {"calibration": "calibration.npz", "evaluation": "evaluation.npz"}
        (self.root / "int8" / "job.yaml").write_text(yaml.safe_dump(fields | {"data": data} | changes))

    def step(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a step's lines as GitHub's runner does."""
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", SHELL[name]],
            cwd=self.root,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.mark.slow
def test_a_branch_with_wrong_preprocessing_is_red_and_an_unchanged_one_is_green(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    write_sets(repository.root / "int8", 32, 200)
    shutil.copy(SHIPPED / "fashion_net.onnx", repository.root / "int8" / "net.onnx")
    shutil.copy(FOLDER / "policy.yaml", repository.root / "int8" / "policy.yaml")
    repository.job()
    main = repository.commit()

    baseline = repository.step("run-baseline", BASE=main)
    assert baseline.returncode == 0, baseline.stderr
    assert (repository.root / "runs" / "baseline" / "compare.json").is_file()

    for changes, code, first in (({}, 0, "✅"), ({"preprocess": PREPROCESS | {"mean": 0.9, "std": 0.1}}, 1, "❌")):
        for left in ("runs/candidate", "regression"):
            shutil.rmtree(repository.root / left, ignore_errors=True)
        repository.summary.write_text("")
        repository.job(**changes)
        candidate = repository.step("run-candidate")
        assert candidate.returncode == 0, candidate.stderr
        compared = repository.step("regress")
        assert compared.returncode == code, compared.stdout + compared.stderr
        assert repository.step("summary").returncode == 0
        assert repository.summary.read_text(encoding="utf-8").startswith(f"### {first}")
        names = {path.name for path in (repository.root / "regression").iterdir()}
        assert names == {"regression.json", "regression.html", "summary.md", "junit.xml", "manifest.json"}


def test_without_a_result_there_is_nothing_to_tell_and_no_error(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    assert repository.step("summary").returncode == 0
    assert not repository.summary.exists()
