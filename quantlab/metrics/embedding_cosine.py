"""How near INT8's embeddings are to FP32's."""

from dataclasses import dataclass

import numpy as np

from quantlab.metrics.outputs import the_output
from quantlab.numerics.arrays import F64, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class EmbeddingCosine:
    """Cosine between both engines' embeddings of a sample; FP32's own score is 1, so the drop is 1 − cosine.

    Attributes
    ----------
    output
        The embeddings [samples, dimensions]; None takes the only one that can be.
    """

    output: str | None = None

    @property
    def name(self) -> str:
        """«cosine with FP32's embedding»."""
        return "cosine with FP32's embedding"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    @property
    def needs_labels(self) -> bool:
        """False."""
        return False

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> AnyArray:
        """Return the values of one engine against itself: all 1."""
        return self.per_pair(outputs, outputs, labels)

    def per_pair(self, fp32: Tensors, int8: Tensors, _labels: AnyArray | None) -> F64:
        """Return float64[samples], −1 … 1; 0 where an embedding is all zeros.

        Raises
        ------
        InputError
            When no output can be told to be embeddings.
        """
        exact, got = (unit(embeddings(outputs, self.output)) for outputs in (fp32, int8))
        return np.asarray(np.sum(exact * got, axis=1), np.float64)


def embeddings(outputs: Tensors, output: str | None) -> AnyArray:
    """Return the embeddings [samples, dimensions], of the named output or the only one that can be.

    Raises
    ------
    InputError
        When none can be told to be that.
    """
    return the_output(outputs, output, _flat, "embeddings [samples, dimensions]")


def unit(rows: AnyArray) -> F64:
    """Return the rows scaled to length 1, in float64; a row of zeros stays."""
    values = rows.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)


def _flat(values: AnyArray) -> bool:
    return values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind == "f"
