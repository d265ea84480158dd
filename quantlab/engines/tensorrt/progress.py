"""TensorRT's progress monitor, where it has one."""

from collections.abc import Callable
from typing import Any

from quantlab.engines.tensorrt.runtime import Library


def monitor(lib: Library, config: Any, progress: Callable[[str, int, int], None] | None) -> Any:
    """Let a build tell of its phases; return what must live as long as the build, None where there is no monitor."""
    if progress is None or not hasattr(lib.module, "IProgressMonitor"):
        return None
    tell = progress
    base: Any = lib.module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            tell(phase, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            tell(phase, step + 1, self._steps.get(phase, step + 1))
            return True

        def phase_finish(self, phase: str) -> None:
            tell(phase, self._steps.get(phase, 1), self._steps.pop(phase, 1))

    made = Monitor()
    config.progress_monitor = made
    return made
