"""A build of TensorRT-RTX tells how far it is, and what is raised meanwhile gets out."""

import signal
from typing import Any

import pytest

from quantlab.engines.tensorrt.build import Reports, build
from quantlab.engines.tensorrt.progress import interruptible
from quantlab.engines.tensorrt.runtime import Heard
from tests.engines.tensorrt.oracle import Oracle
from tests.networks import small_cnn


class UnwellError(Exception):
    """Of the caller."""


def _raise(error: type[BaseException], *_: Any) -> None:
    raise error


def test_a_build_tells_its_phases(rtx: Oracle) -> None:
    told: list[tuple[str, int, int]] = []
    build(small_cnn(), library="tensorrt_rtx", reports=Reports(progress=lambda *step: told.append(step)))
    assert told
    assert all(0 <= step <= steps for _, step, steps in told)


@pytest.mark.parametrize("error", [UnwellError, KeyboardInterrupt])
def test_what_a_caller_raises_ends_the_build(rtx: Oracle, error: type[BaseException]) -> None:
    for reports in (Reports(progress=lambda *_: _raise(error)), Reports(log=lambda *_: _raise(error))):
        with pytest.raises(error):
            build(small_cnn(), library="tensorrt_rtx", reports=reports)


def test_ctrl_c_is_kept_while_tensorrt_runs_and_is_itself_again_afterwards() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells let background jobs ignore it
    heard = Heard(None)
    try:
        with interruptible(heard):
            signal.raise_signal(signal.SIGINT)
        assert isinstance(heard.raised, KeyboardInterrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
