"""Opens a model in ONNX Runtime with the wanted tensors exposed."""

from typing import Any

from quantlab.engines.onnx_runtime import Network, OrtEngine, OrtOptions
from quantlab.graph.derive import derivations
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import place
from quantlab.graph.probe import exposable
from quantlab.graph.target import Target
from quantlab.graph.view import Graph


def open_ort(
    model: Any, *, expose: str | tuple[str, ...] | None, target: str, optimize: bool, threads: int | None
) -> OrtEngine:
    """Open a model; see `quantlab.engines.ort`."""
    loaded = load_model(model)
    name = loaded.path.name if loaded.path else "model"
    options = OrtOptions(optimize, threads)
    if expose is None:
        return OrtEngine(Network(loaded.proto, loaded.digest, name), options=options)
    normalised = normalise(loaded)
    graph = Graph(normalised.model.proto)
    quantizable = place(graph, Target.parse(target)).tensors if expose == "quantizable" else ()
    outputs = exposable(graph, expose, quantizable=quantizable)
    network = Network(normalised.model.proto, loaded.digest, name, normalised.names, derivations(graph))
    return OrtEngine(network, outputs=outputs, options=options)
