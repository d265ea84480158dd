"""Whether data and engines can be given to workers at all."""

from quantlab.data.batch import Dataset, Divisible
from quantlab.engines.engine import Engine, Opening
from quantlab.errors import UsageError


def divisible(data: Dataset) -> Divisible:
    """Return data that can be cut.

    Raises
    ------
    UsageError
        For a stream or a script, which can only be read from its start.
    """
    if not can_be_cut(data):
        raise UsageError(
            "Batches from a script or an iterable can only be read from the start, so they cannot be shared out: give images or an "
            "array file, or leave the workers out."
        )
    return data  # type: ignore[return-value]


def can_be_cut(data: object) -> bool:
    """Tell whether any part of the data can be read without what comes before."""
    return hasattr(type(data), "part")


def opening_of(engine: Engine) -> Opening:
    """Return what opens an engine again.

    Raises
    ------
    UsageError
        For an engine that cannot be opened anew elsewhere.
    """
    opening: Opening | None = getattr(engine, "opening", None)
    if opening is None:
        raise UsageError(
            f"The engine over «{engine.model_name}» cannot be opened anew by workers: use ql.engines.ort or ql.engines.trt, or "
            "leave the workers out."
        )
    return opening
