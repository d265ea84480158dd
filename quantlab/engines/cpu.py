"""What of this processor decides integer arithmetic: named beside every accuracy."""

import functools
import platform
from pathlib import Path

_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "i8mm")


@functools.cache
def instruction_set() -> str:
    """Return the machine type and the vector extensions that INT8 kernels choose by, for instance «x86_64 avx512_vnni avx2»."""
    return " ".join([platform.machine(), *(flag for flag in _FLAGS if flag in _flags())])


@functools.cache
def processor() -> str:
    """Return the processor's own name, or the machine type where the system does not tell."""
    return _field("model name") or platform.processor() or platform.machine()


def _flags() -> frozenset[str]:
    return frozenset((_field("flags") or _field("Features") or "").split())


def _field(name: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), None)
