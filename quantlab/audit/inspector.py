"""The JSON of TensorRT's engine inspector, read as values: each layer of a built engine, what it reads, writes and runs.

8.6: recorded from real engines (8.6.0). A layer's tensors have a "Format/Datatype" in prose, such as "Thirty-two wide
channel vectorized row major Int8 format", and "Metadata" names the ONNX nodes, "[ONNX Layer: …]", separated by a raw
control character (0x1e), which is no valid JSON and is read all the same. An engine with several optimization profiles
lists the layers of each, and behind the names of layers, tensors and bindings of all but the first stands " [profile 1]".
8.5, only read about, has no metadata: there the layers' names tell the nodes.

10.x: only read about (NVIDIA's trt-engine-explorer, TensorRT's documentation and issues), recorded from no engine. The
same fields, with three differences: without an execution context the type is one word ("Half", "Int8"), for open
shapes it is not given at all, and 0x1f separates too.

11.x: only read about (NVIDIA's migration guide from 10.x to 11.x). "Format/Datatype" is split into "Format" and
"DataType", and "Bindings", a list of names, became "I/O Tensors", a list of objects. The guide's own example spells
the keys of "I/O Tensors"; those of a layer are taken in any case of letters.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.audit.layer_names import nodes_in_metadata
from quantlab.errors import InputError, UsageError

UNKNOWN = "unknown"

_WORDS = {
    "int8": "INT8", "uint8": "UINT8", "int4": "INT4", "fp8": "FP8", "fp4": "FP4", "half": "FP16", "fp16": "FP16",
    "float16": "FP16", "bfloat16": "BF16", "bf16": "BF16", "float": "FP32", "fp32": "FP32", "float32": "FP32",
    "double": "FP64", "int16": "INT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL",
}  # fmt: skip
_OTHER_PROFILE = re.compile(r" ?\[profile +([1-9][0-9]{0,3})\]")
_DETAILED = (
    "build the engine again with detailed profiling verbosity (`quantlab build` does; trtexec: "
    "--profilingVerbosity=detailed)"
)


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """A tensor as one layer sees it.

    Attributes
    ----------
    name
        TensorRT's, without " [profile 1]"; a copy in another format has a name of its own.
    shape
        Sizes, -1 for an open one; empty where the inspector gives none.
    precision
        INT8, FP16, FP32, …; "unknown" where the inspector does not tell, as for open shapes without a context.
    layout
        TensorRT's words for type and memory layout.
    """

    name: str
    shape: tuple[int, ...]
    precision: str
    layout: str


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One layer of a built engine.

    Attributes
    ----------
    name
        TensorRT's, without " [profile 1]"; fused parts are joined by " + ". Two layers may have the same.
    kind
        TensorRT's "LayerType": CaskConvolution, PointWiseV2, Reformat, kgen, …
    inputs, outputs
        Tensors in TensorRT's order.
    weights
        Precision of the weights, None where the layer has none or does not tell.
    onnx_nodes
        Names of the ONNX nodes, from the metadata alone, each once.
    tactic
        The kernel's name, or its number.
    origin
        Of a Reformat: REFORMAT for a copy between formats, QDQ for a Q or DQ that was not fused; else empty.
    """

    name: str
    kind: str
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    weights: str | None = None
    onnx_nodes: tuple[str, ...] = ()
    tactic: str = ""
    origin: str = ""

    @property
    def precision(self) -> str:
        """What the layer computes in: the precision of its first input, or of its first output if it has no input.

        TF32 where that is FP32 and the kernel's name says it rounds that to TF32, which no field tells.
        """
        first = next((tensor.precision for tensor in (*self.inputs, *self.outputs)), UNKNOWN)
        return "TF32" if first == "FP32" and "tf32" in self.tactic.lower() else first

    @property
    def output_precision(self) -> str:
        """The precision of its first output."""
        return next((tensor.precision for tensor in self.outputs), UNKNOWN)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the inspector says of an engine.

    Attributes
    ----------
    layers
        In the order of execution, those of one optimization profile.
    bindings
        Names of the engine's inputs and outputs.
    profiles
        How many optimization profiles the engine has.
    profile
        Whose layers these are, from 0.
    """

    layers: tuple[EngineLayer, ...]
    bindings: tuple[str, ...] = ()
    profiles: int = 1
    profile: int = 0


def parse_inspector(text: str, *, profile: int | None = None) -> Inspection:
    """Return what an inspector's JSON says, of TensorRT 8.5 to 11.

    Parameters
    ----------
    profile
        Which optimization profile's layers to return, from 0: each has kernels of its own. The first if not given.

    Raises
    ------
    InputError
        For text that is no such JSON, or one of a plan that was built without detailed verbosity.
    UsageError
        For a profile that the engine does not have.
    """
    fields = _object(text)
    raw = fields.get("layers")
    if not isinstance(raw, list):
        raise InputError(
            "This is no report of TensorRT's engine inspector: it has no list of «Layers». Save the text that "
            "`EngineInspector.get_engine_information(JSON)` returns, or trtexec's --exportLayerInfo."
        )
    if not raw:
        raise InputError(f"The report lists no layers: {_DETAILED}.")
    if any(isinstance(layer, str) for layer in raw):
        raise InputError(f"The report holds the layers' names only, not their types: {_DETAILED}.")
    layers = tuple(_layer(layer, position) for position, layer in enumerate(raw))
    numbers = [without_profile(_text(_folded(layer), "name"))[1] for layer in raw]
    known = sorted({*numbers})
    chosen = known[0] if profile is None else profile
    if chosen not in known:
        raise UsageError(f"The engine has no optimization profile {chosen}: it has {', '.join(map(str, known))}.")
    wanted = tuple(layer for layer, number in zip(layers, numbers, strict=True) if number == chosen)
    return Inspection(wanted, _bindings(fields), len(known), chosen)


def without_profile(name: str) -> tuple[str, int]:
    """Return a name without " [profile 2]", and the number in it, 0 where there is none."""
    found = _OTHER_PROFILE.search(name)
    return (name, 0) if found is None else (name.replace(found.group(), ""), int(found.group(1)))


def precision_of(text: str) -> str:
    """Return the precision that words such as «Row major linear FP16 format» or «Half» name."""
    return next((_WORDS[word] for word in re.findall("[a-z0-9]+", text.lower()) if word in _WORDS), UNKNOWN)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text.removeprefix("\ufeff"), strict=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The engine inspector's report must be JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise InputError("The engine inspector's report must be a JSON object with a list of «Layers».")
    return _folded(value)


def _layer(value: object, position: int) -> EngineLayer:
    if not isinstance(value, Mapping):
        raise InputError(f"Layer {position} of the inspector's report is {_kind(value)}, not an object with a «Name».")
    fields = _folded(value)
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"Layer {position} of the inspector's report has no «Name».")
    weights = fields.get("weights")
    given = _folded(weights).get("type") if isinstance(weights, Mapping) else None
    return EngineLayer(
        without_profile(name)[0],
        _text(fields, "layertype") or _text(fields, "parametertype") or UNKNOWN,
        _tensors(fields.get("inputs"), name, "Inputs"),
        _tensors(fields.get("outputs"), name, "Outputs"),
        precision_of(given) if isinstance(given, str) else None,
        nodes_in_metadata(_text(fields, "metadata")),
        _text(fields, "tacticname") or _text(fields, "tacticvalue"),
        _text(fields, "origin").upper(),
    )


def _tensors(value: object, layer: str, field: str) -> tuple[EngineTensor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise InputError(f"«{field}» of layer «{layer:.80}» must be a list of objects, one a tensor.")
    return tuple(_tensor(_folded(item)) for item in value)


def _tensor(fields: Mapping[str, Any]) -> EngineTensor:
    both = _text(fields, "format/datatype")
    dimensions = fields.get("dimensions")
    sizes = dimensions if isinstance(dimensions, list) else []
    return EngineTensor(
        without_profile(_text(fields, "name"))[0],
        tuple(size for size in sizes if isinstance(size, int) and not isinstance(size, bool)),
        precision_of(_text(fields, "datatype") or both or _text(fields, "format")),
        both or _text(fields, "format"),
    )


def _bindings(fields: Mapping[str, Any]) -> tuple[str, ...]:
    listed = fields.get("bindings") or fields.get("i/o tensors") or []
    if not isinstance(listed, list):
        return ()
    names = (_text(_folded(item), "name") if isinstance(item, Mapping) else item for item in listed)
    return tuple(n for n in names if isinstance(n, str) and n and not without_profile(n)[1])


def _folded(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key).lower(): item for key, item in value.items()}


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
