"""What ran the two networks."""

from dataclasses import dataclass

from quantlab.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Backends:
    """Runtime, version and instruction set of both engines: no accuracy means anything without them."""

    fp32: str
    int8: str

    @classmethod
    def of(cls, fp32: Engine, int8: Engine) -> "Backends":
        """Return what runs these engines."""
        return cls(fp32.backend, int8.backend)


def simulated(backend: str) -> bool:
    """Return whether an engine of this name computes as TensorRT would, and not as itself."""
    return "simulating" in backend or "unoptimized" in backend
