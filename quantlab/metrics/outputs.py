"""Which of a network's outputs a metric reads."""

from collections.abc import Callable

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors


def the_output(outputs: Tensors, output: str | None, fits: Callable[[AnyArray], bool], what: str) -> AnyArray:
    """Return the named output, or the only one that fits.

    Parameters
    ----------
    fits
        Tells whether an array can be what is looked for.
    what
        In words, with its shape, as in «embeddings [samples, dimensions]».

    Raises
    ------
    InputError
        When the named one is missing or does not fit; or when none is named, and none or several fit.
    """
    if output is not None:
        if output not in outputs:
            raise InputError(f"The model has no output «{output}»; it has {listed(outputs)}.")
        if not fits(outputs[output]):
            raise InputError(f"Output «{output}» is {list(outputs[output].shape)}, not {what}.")
        return outputs[output]
    found = [values for values in outputs.values() if fits(values)]
    if len(found) != 1:
        raise InputError(
            f"Which output holds the {what} cannot be told from {listed(outputs)}: name it, as in «,output=…»."
        )
    return found[0]


def listed(outputs: Tensors) -> str:
    """Return the outputs and their shapes in words."""
    return ", ".join(f"«{name}» {list(values.shape)}" for name, values in outputs.items())
