"""The most memory that this process has held: of all its life, or since it was asked to forget."""

import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes() -> int | None:
    """Return the largest resident size in bytes since `forget_peak`, or since the start; None where nobody tells."""
    with suppress(OSError, ValueError, IndexError):
        line = next((line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")), "")
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Count the peak anew from here, where the system can (Linux); elsewhere it stays the peak of all the life."""
    with suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
