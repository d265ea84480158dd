"""A request for more memory than the machine has ends as one sentence, not with the machine's other processes."""

from __future__ import annotations

import os
from pathlib import Path


def bound_memory() -> None:
    """Let allocations fail beyond the machine's memory and swap, where nobody set a lower limit; workers inherit it.

    Linux grants any request and kills some process once the pages are touched. `RLIMIT_DATA` counts private writable
    memory alone, not files mapped for reading or address space set aside (`man 2 getrlimit`).
    """
    try:
        import resource

        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") + _swap_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or most < hard):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    except (ImportError, AttributeError, OSError, ValueError):  # not every system has such a limit
        return


def _swap_bytes() -> int:
    """Return the bytes of swap that Linux tells of."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("SwapTotal:")), 0)
