"""Shared fixtures, and the rule that a skip needs a known reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test depends on time, as a busy machine is not a fault; in CI the examples are always the same ones.
settings.register_profile(
    "quantlab",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quantlab")

ALLOWED_SKIPS = (
    "needs the reference material: set QUANTLAB_REFERENCE to its folder",
    "needs MLflow: pip install 'quantlab[mlflow]'",
    "needs PyTorch: pip install 'quantlab[qat]'",
    "needs tritonclient: pip install 'quantlab[triton]'",
    "needs pycocotools: pip install 'quantlab[detection]'",
    "needs the models of tests/benchmarks/tuning/README.md: set QUANTLAB_TUNING_MODELS to their folder",
    "needs onnxscript: pip install onnxscript",
    "needs ipywidgets: pip install 'quantlab[notebooks]'",
    "needs onnxslim: pip install 'quantlab[slim]'",
    "needs ModelOpt: pip install 'quantlab[modelopt]'",
    "needs ModelOpt to be absent",
    "needs pytorch-quantization, which is built from source",
    "needs pytorch-quantization to be absent",
)
"""Reasons for which a test may be skipped; any other skip fails the run where CI is set."""


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of the reference material (models, images, golden files)."""
    folder = os.environ.get("QUANTLAB_REFERENCE")
    if not folder:
        pytest.skip(ALLOWED_SKIPS[0])
    if not Path(folder).is_dir():
        pytest.fail(f"QUANTLAB_REFERENCE names '{folder}', which is not a folder")
    return Path(folder).resolve()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what could not run in the last lines."""
    reasons = _skip_reasons(terminalreporter)
    for reason in sorted(set(reasons)):
        terminalreporter.write_line(f"NOT RUN: {reasons.count(reason)} tests, because: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI on a skip for an unknown reason."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and isinstance(reporter, pytest.TerminalReporter):
        unknown = [reason for reason in _skip_reasons(reporter) if reason not in ALLOWED_SKIPS]
        if unknown and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skip_reasons(reporter: pytest.TerminalReporter) -> list[str]:
    skipped = reporter.stats.get("skipped", [])
    return [str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]
