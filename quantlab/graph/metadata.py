"""What quantlab notes in a Q/DQ model about where its scales came from."""

import json

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.errors import InputError
from quantlab.graph.model import Model

METADATA_KEY = "quantlab"


def provenance_of(model: Model) -> Provenance | None:
    """Return the provenance that `quantize` stored in a Q/DQ model; None for anyone else's.

    Raises
    ------
    InputError
        When the stored text was damaged.
    """
    for entry in model.proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                stored = json.loads(entry.value).get("provenance")
            except (ValueError, AttributeError, RecursionError) as error:
                raise InputError(f"The model's metadata «{METADATA_KEY}» are damaged: {error}.") from error
            return Provenance.from_json(stored) if stored else None
    return None


def cache_text_of(model: Model) -> str | None:
    """Return the calibration cache that `quantize` stored in a Q/DQ model made of one; None for others.

    Raises
    ------
    InputError
        When the stored text was damaged.
    """
    for entry in model.proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                stored = json.loads(entry.value).get("cache")
            except (ValueError, AttributeError, RecursionError) as error:
                raise InputError(f"The model's metadata «{METADATA_KEY}» are damaged: {error}.") from error
            return stored if isinstance(stored, str) else None
    return None


def chosen_on(model: Model) -> tuple[DataIdentity, ...]:
    """Return the sets of samples that had a say in a Q/DQ model's scales; empty where it does not tell."""
    provenance = provenance_of(model)
    return provenance.chosen_on if provenance else ()
