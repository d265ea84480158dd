"""What quantlab notes in a Q/DQ model about where its scales came from."""

import json
from collections.abc import Mapping
from typing import Any

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
    stored = _stored(model).get("provenance")
    return Provenance.from_json(stored) if stored else None


def noted(model: Model, name: str) -> str | None:
    """Return what `quantize` noted under a name: «target», «weights», «head»; «cache», the cache that it was made of.

    Raises
    ------
    InputError
        When the stored text was damaged.
    """
    found = _stored(model).get(name)
    return found if isinstance(found, str) else None


def _stored(model: Model) -> Mapping[str, Any]:
    for entry in model.proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                stored: Mapping[str, Any] = json.loads(entry.value)
                stored.get("provenance")
            except (ValueError, AttributeError, RecursionError) as error:
                raise InputError(f"The model's metadata «{METADATA_KEY}» are damaged: {error}.") from error
            return stored
    return {}


def chosen_on(model: Model) -> tuple[DataIdentity, ...]:
    """Return the sets of samples that had a say in a Q/DQ model's scales; empty where it does not tell."""
    provenance = provenance_of(model)
    return provenance.chosen_on if provenance else ()
