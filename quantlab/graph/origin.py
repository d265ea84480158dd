"""Notes in a quantized model which float model it was made of, where no data chose a scale."""

import json
from collections.abc import Mapping

import onnx

from quantlab.calibration.provenance import Provenance
from quantlab.graph.metadata import METADATA_KEY
from quantlab.graph.model import Model
from quantlab.versions import versions


def note_origin(proto: onnx.ModelProto, model: Model, settings: Mapping[str, str], *backends: str) -> None:
    """Write settings and provenance where `provenance_of` reads them; what was noted there before goes.

    Parameters
    ----------
    proto
        The quantized model; it is changed.
    model
        The float model that the user gave.
    settings
        «target», «mode», ….
    backends
        What else ran, «onnxruntime 1.31.1».
    """
    kept = [entry for entry in proto.metadata_props if entry.key != METADATA_KEY]
    origin = Provenance(model.digest, model.name, (), versions(*backends), "")
    text = json.dumps({**settings, "provenance": json.dumps(origin.to_json(), sort_keys=True)}, sort_keys=True)
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=METADATA_KEY, value=text)
