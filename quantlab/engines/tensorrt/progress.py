"""TensorRT's progress monitor, where it has one, and Ctrl-C while it builds."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quantlab.engines.tensorrt.runtime import Heard, Library


def monitor(lib: Library, config: Any, progress: Callable[[str, int, int], None] | None, heard: Heard) -> Any:
    """Let a build tell of its phases; return what must live as long as the build, None where there is no monitor.

    What `progress` raises ends the build and is kept in `heard`: an exception does not cross TensorRT's C++.
    """
    if not hasattr(lib.module, "IProgressMonitor"):
        return None
    base: Any = lib.module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            self._tell(phase, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            self._tell(phase, step + 1, self._steps.get(phase, step + 1))
            return heard.raised is None

        def phase_finish(self, phase: str) -> None:
            self._tell(phase, self._steps.get(phase, 1), self._steps.pop(phase, 1))

        def _tell(self, phase: str, step: int, steps: int) -> None:
            try:
                if progress is not None:
                    progress(phase, step, steps)
            except BaseException as error:  # noqa: BLE001  (see above; Ctrl-C, too)
                heard.raised = heard.raised or error

    made = Monitor()
    config.progress_monitor = made
    return made


@contextmanager
def interruptible(heard: Heard) -> Iterator[None]:
    """Keep Ctrl-C in `heard` while TensorRT runs: it comes up in a callback, whose exceptions the bindings print and drop.

    A monitor ends the build at its next step; where there is none, the build ends first.
    """

    def keep(_number: int, _frame: object) -> None:
        heard.raised = heard.raised or KeyboardInterrupt()

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
