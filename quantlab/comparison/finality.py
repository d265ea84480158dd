"""Which sets of samples had a say in the INT8 network, and whether a score on others is the last word."""

from collections.abc import Iterable
from itertools import chain

from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.tensors import TensorProbe
from quantlab.engines.engine import Engine
from quantlab.errors import InputError


def sets_with_a_say(given: Iterable[DataIdentity], int8: Engine, probe: TensorProbe | None) -> tuple[DataIdentity, ...]:
    """Return each set once: those given, those that the INT8 engine names, and those behind the probe's scales."""
    told = getattr(int8, "chosen_on", ())  # an engine of one's own need not know
    provenance = probe.table.provenance if probe and probe.table else None
    return tuple(dict.fromkeys([*given, *told, *(provenance.chosen_on if provenance else ())]))


def may_be_final(data: DataIdentity, chosen_on: tuple[DataIdentity, ...]) -> bool:
    """Return whether a score may be final once `check_unseen` let it pass: unknown sets cannot have been checked."""
    return bool(chosen_on) and not data.random


def check_unseen(data: DataIdentity, *chosen_on: tuple[DataIdentity, ...]) -> None:
    """Refuse samples that had a say in one of several INT8 networks, each with its sets.

    Raises
    ------
    InputError
        When the data share a sample with one of the sets, or a set was recorded without what tells.
    """
    for used in chain.from_iterable(chosen_on):
        share = data.overlap(used)
        if share > 0:
            raise InputError(
                f"«{data.name}» was used to choose the scales: it shares samples with «{used.name}», about "
                f"{100 * share:.3g}% of the smaller set. Score on other samples, or say that the score is not final."
            )
