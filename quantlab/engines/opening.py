"""Opens a model in ONNX Runtime with the wanted tensors exposed."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import onnx

from quantlab.engines.onnx_runtime import Network, OrtEngine
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import InputError, UsageError
from quantlab.graph.derive import derivations
from quantlab.graph.metadata import chosen_on
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import Placement, place
from quantlab.graph.probe import exposable
from quantlab.graph.simulate import simulate
from quantlab.graph.target import Target
from quantlab.graph.view import Graph


def open_ort(model: Any, *, expose: str | tuple[str, ...] | None, target: str, options: OrtOptions) -> OrtEngine:
    """Open a model; see `quantlab.engines.ort`."""
    if expose is None:
        return OrtEngine(plain_network(model), options=options)
    network, outputs = exposed_network(model, expose, target=target)
    return OrtEngine(network, outputs=outputs, options=options)


def open_simulation(model: Any, *, threads: int | None, libraries: tuple[str, ...] = ()) -> OrtEngine:
    """Open the simulation of a Q/DQ model; see `quantlab.engines.simulation`."""
    loaded = _loaded(model)
    network = Network(simulate(loaded).proto, loaded.digest, _name(loaded), chosen_on=chosen_on(loaded))
    return OrtEngine(network, options=OrtOptions(threads=threads, libraries=libraries, integer_kernels=False))


def plain_network(model: Any) -> Network:
    """Return a model as it is.

    Raises
    ------
    UsageError
        For what is no model.
    """
    loaded = _loaded(model)
    return Network(loaded.proto, loaded.digest, _name(loaded), chosen_on=chosen_on(loaded))


def exposed_network(
    model: Any, expose: str | tuple[str, ...], *, target: str = "tensorrt"
) -> tuple[Network, tuple[str, ...]]:
    """Return the normalised network, and the tensors that `expose` asks for.

    Raises
    ------
    UsageError
        For what is no model.
    """
    loaded = _loaded(model)
    normalised = normalise(loaded)
    graph = Graph(normalised.model.proto)
    if expose == "quantizable":
        outputs = _quantizable(graph, Target.parse(target))
    else:
        outputs = exposable(graph, _present(expose, normalised.all_aliases))
    sets = chosen_on(loaded)
    network = Network(
        normalised.model.proto, loaded.digest, _name(loaded), derivations=derivations(graph), chosen_on=sets
    )
    return network, outputs


def _quantizable(graph: Graph, target: Target) -> tuple[str, ...]:
    placement = place(graph, target)
    refuse_nothing(placement)
    return exposable(graph, "quantizable", quantizable=placement.tensors)


def refuse_nothing(placement: Placement) -> None:
    """Refuse a placement without a single tensor.

    Raises
    ------
    InputError
        With the first reasons why all stays float.
    """
    if not placement.activations:
        reasons = "; ".join(f"«{name}»: {reason}" for name, reason in list(placement.floats.items())[:3])
        raise InputError(
            f"{placement.target} quantizes nothing of this model ({reasons or 'it has no weighted operator'})."
        )


def _present(expose: str | tuple[str, ...], aliases: Mapping[str, str]) -> str | tuple[str, ...]:
    """Return the patterns with names of tensors that normalising removed replaced by the tensors that equal them."""
    return expose if isinstance(expose, str) else tuple(aliases.get(pattern, pattern) for pattern in expose)


def _loaded(model: Any) -> Model:
    if not isinstance(model, str | PathLike | onnx.ModelProto | Model):
        raise UsageError(
            f"A model is a path, a ModelProto or a Model (a QuantizedModel's is its .model), not {model!r:.60}."
        )
    return load_model(model)


def _name(model: Model) -> str:
    return model.path.name if model.path else "model"
