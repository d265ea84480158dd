"""The TensorRT that is installed: which library, which version, and what it logs."""

import functools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeAlias

from quantlab.errors import MachineError, UsageError

LibraryName: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]
LIBRARIES: tuple[LibraryName, ...] = ("tensorrt", "tensorrt_rtx")

Severity: TypeAlias = Literal["internal error", "error", "warning", "info", "verbose"]
Listener: TypeAlias = Callable[[Severity, str], None]

_SEVERITIES: tuple[Severity, ...] = ("internal error", "error", "warning", "info", "verbose")
_BEFORE = re.compile(r"^(?:\[[^\]]*\]|(?:Error Code )?\d+:|I\w+::\w+:|Internal Error|API Usage Error)\s*")
"""Places in NVIDIA's sources, codes and classes: what stands before the words of a log line."""


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT.

    Attributes
    ----------
    name
        «tensorrt», or «tensorrt_rtx»: TensorRT for RTX, which always is strongly typed.
    version
        As it tells it, for instance «8.6.1».
    module
        The Python module.
    log
        Hears what it logs.
    """

    name: LibraryName
    version: str
    module: Any
    log: "Log"

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{'TensorRT' if self.name == 'tensorrt' else 'TensorRT-RTX'} {self.version}"


class Log:
    """What a TensorRT logs, handed to whoever listens; a library has one, as TensorRT keeps the first it is given."""

    def __init__(self, module: Any) -> None:
        self._listeners: list[Heard] = []
        self._lock = threading.Lock()
        self.logger = _logger(module, self._hear)

    def _hear(self, severity: Severity, text: str) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(severity, text)

    @contextmanager
    def heard(self, listener: Listener | None = None) -> Iterator["Heard"]:
        """Collect errors and warnings for a while; `listener` is told everything, verbose lines too.

        What it raises, or Ctrl-C meets, while TensorRT calls is raised at the end.
        """
        heard = Heard(listener)
        with self._lock:
            self._listeners.append(heard)
        try:
            yield heard
        finally:
            with self._lock:
                self._listeners.remove(heard)
            if heard.raised is not None:
                raise heard.raised


class Heard:
    """Errors and warnings of one operation."""

    def __init__(self, listener: Listener | None) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.raised: BaseException | None = None
        self._listener = listener

    def __call__(self, severity: Severity, text: str) -> None:
        """Hear a line."""
        if severity in ("internal error", "error"):
            self.errors.append(text)
        elif severity == "warning" and text not in self.warnings:
            self.warnings.append(text)
        try:
            if self._listener is not None:
                self._listener(severity, text)
        except BaseException as error:  # noqa: BLE001  TensorRT's bindings print it and go on: it is raised afterwards
            self.raised = self.raised or error

    @property
    def first_error(self) -> str:
        """The first error line without source places and codes: what follows is mostly its echo."""
        return sentence(self.errors[0]) if self.errors else "it gives no reason"


def sentence(line: str) -> str:
    """Return a line of TensorRT's log without «4: [file.cpp::function::123] Error Code 4: Internal Error» before it."""
    text = first = next(iter(line.strip().splitlines()), "")
    while match := _BEFORE.match(text):
        text = text[match.end() :]
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return text.strip().rstrip(".") or first


def library(name: LibraryName | None = None) -> Library:
    """Return the installed TensorRT: the named one, else `tensorrt`, else `tensorrt_rtx`.

    Raises
    ------
    UsageError
        For another name.
    MachineError
        When it is not installed or cannot be loaded.
    """
    if name is not None and name not in LIBRARIES:
        raise UsageError(f"The library is {' or '.join(LIBRARIES)}, not «{name}».")
    reasons = {candidate: _reason_against(candidate) for candidate in ((name,) if name else LIBRARIES)}
    found = next((candidate for candidate, reason in reasons.items() if reason is None), None)
    if found is None:
        listed = "; ".join(f"{candidate}: {reason}" for candidate, reason in reasons.items())
        raise MachineError(
            f"TensorRT cannot be loaded ({listed}). Install the `tensorrt` of the machine that will run the plan, or "
            "`tensorrt-rtx-cu13` to build for TensorRT-RTX; without either, `ql.engines.ort` simulates INT8 on the CPU."
        )
    return _loaded(found)


def _reason_against(name: LibraryName) -> str | None:
    try:
        _loaded(name)
    except (ImportError, OSError, AttributeError) as error:  # a folder of that name imports too, and holds nothing
        return str(error)
    return None


@functools.cache
def _loaded(name: LibraryName) -> Library:
    module = import_module(name)
    return Library(name, str(module.__version__), module, Log(module))


def _logger(module: Any, hear: Callable[[Severity, str], None]) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc]
        """Calls back; TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            hear(_SEVERITIES[min(int(severity), len(_SEVERITIES) - 1)], message)

    return Logger()
