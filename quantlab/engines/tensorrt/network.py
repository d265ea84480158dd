"""An ONNX model as a TensorRT network."""

import ctypes
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines.cuda.memory import devices
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.engines.tensorrt.capabilities import always_typed
from quantlab.engines.tensorrt.ranges import amax_of
from quantlab.engines.tensorrt.runtime import Heard, Library, sentence
from quantlab.errors import InputError, MachineError
from quantlab.graph.model import write_model
from quantlab.graph.stored_tensors import is_heavy

_PRECISIONS = {
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "int8",
    onnx.TensorProto.FLOAT8E4M3FN: "fp8",
    onnx.TensorProto.INT4: "int4",
}
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Parsed:
    """A network and what must live as long as it: the parser owns its weights."""

    builder: Any
    network: Any
    parser: Any

    @property
    def inputs(self) -> tuple[str, ...]:
        """The network's input names, in order."""
        return tuple(self.network.get_input(i).name for i in range(self.network.num_inputs))


def qdq_precisions(proto: onnx.ModelProto) -> frozenset[str]:
    """Return the integer and small float types that a model's Q/DQ nodes use: int8, fp8, int4; none without Q/DQ."""
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer} | _constants(proto)
    nodes = [node for node in proto.graph.node if node.op_type in _QDQ]
    used = {types[name] for node in nodes for name in (node.input[0], *node.input[2:3]) if name in types}
    used |= {a.i for node in nodes for a in node.attribute if a.name == "output_dtype"}
    found = {_PRECISIONS[kind] for kind in used if kind in _PRECISIONS}
    return frozenset(found or ({"int8"} if nodes else ()))


def _constants(proto: onnx.ModelProto) -> dict[str, int]:
    """Return the types of what Constant nodes put out as tensors: exporters write zero points so."""
    return {
        node.output[0]: attribute.t.data_type
        for node in proto.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }


def has_qdq(proto: onnx.ModelProto) -> bool:
    """Tell whether a model says itself what is quantized."""
    return any(node.op_type in _QDQ for node in proto.graph.node)


def parse(proto: onnx.ModelProto, lib: Library, heard: Heard, *, strongly_typed: bool) -> Parsed:
    """Return the network.

    Raises
    ------
    MachineError
        When TensorRT cannot start, for want of a GPU for instance.
    InputError
        When its parser refuses the model; the message names the node.
    """
    trt = lib.module
    try:
        builder = trt.Builder(lib.log.logger)
    except TypeError as error:  # pybind11's word for a null pointer
        reason = heard.first_error if heard.errors or devices() else "there is no NVIDIA GPU, or no driver for it"
        raise MachineError(f"{lib.title} cannot start: {reason}.") from error
    network = builder.create_network(_creation_flags(lib, strongly_typed=strongly_typed))
    parser = trt.OnnxParser(network, lib.log.logger)
    if not _read(parser, proto):
        raise InputError(f"{lib.title} cannot read the model: {_reason(parser, proto, heard)}.")
    return Parsed(builder, network, parser)


def _creation_flags(lib: Library, *, strongly_typed: bool) -> int:
    flags = lib.module.NetworkDefinitionCreationFlag
    if always_typed(lib.name, lib.version):
        return 0
    if strongly_typed:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def _read(parser: Any, proto: onnx.ModelProto) -> bool:
    if not is_heavy(proto):
        return bool(parser.parse(proto.SerializeToString()))
    with TemporaryDirectory(prefix="quantlab-") as folder:  # protobuf ends at 2 GB: the weights go beside
        path = Path(folder) / "model.onnx"
        write_model(proto, path)
        return bool(parser.parse_from_file(str(path)))


def _reason(parser: Any, proto: onnx.ModelProto, heard: Heard) -> str:
    if not parser.num_errors:
        return heard.first_error
    error = parser.get_error(0)
    number, nodes = error.node(), proto.graph.node
    place = f"node «{nodes[number].name}» ({nodes[number].op_type}): " if 0 <= number < len(nodes) else ""
    return f"{place}{sentence(error.desc())}"


def load_plugins(lib: Library, paths: tuple[str, ...]) -> None:
    """Load plugin libraries into the process; their creators register themselves, or are registered here.

    Raises
    ------
    InputError
        When a library is missing or does not load, or TensorRT does not take its plugins.
    """
    trt = lib.module
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(lib.log.logger, "")
    for path in paths:
        _load_plugins_once(lib, Path(path).resolve())


@functools.cache
def _load_plugins_once(lib: Library, path: Path) -> None:
    """Load a library; a registry refuses plugins that it has, from a build before for instance."""
    try:
        loaded = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise InputError(
            f"The plugin library '{path}' does not load: {error}. It must be built for this machine and {lib.title}."
        ) from error
    if any(hasattr(loaded, entry) for entry in ("getCreators", "getPluginCreators")):
        with lib.log.heard() as heard:
            registered = lib.module.get_plugin_registry().load_library(str(path))
        if registered is None:
            raise InputError(
                f"{lib.title} does not take the plugins of '{path}': {heard.first_error}. They must be of this version, and "
                "none of them registered already."
            )


def check_scaled(network: Any, trt: Any, names: Iterable[str], what: str) -> None:
    """Refuse scales of which none is of a float tensor of the network: it would be built without INT8.

    Raises
    ------
    InputError
        Naming `what` they are in.
    """
    known = {tensor.name for tensor, _ in _tensors(network, trt)}
    if known.isdisjoint(names):
        raise InputError(
            f"The {what} has a scale for no tensor of the network, for «{min(known, default='')}» for instance: it is of another model."
        )


def set_ranges(network: Any, trt: Any, table: ScaleTable) -> tuple[str, ...]:
    """Give each tensor that the table names its dynamic range; return the activations that got none."""
    missing = []
    for tensor, constant in _tensors(network, trt):
        row = table.get(tensor.name)
        if row is None or row.role == "weight":
            if not constant:
                missing.append(tensor.name)
            continue
        if row.scheme != "symmetric" or row.axis is not None or row.dtype != "int8":
            raise InputError(
                f"Tensor «{row.tensor}» is {row.scheme} {row.dtype} with {len(row.scale)} scales; a dynamic range stands for "
                "one symmetric INT8 scale: calibrate with the symmetric scheme."
            )
        amax = amax_of(row.scale[0])
        tensor.set_dynamic_range(-amax, amax)
    return tuple(missing)


def _tensors(network: Any, trt: Any) -> list[tuple[Any, bool]]:
    """Return the float tensors, and whether each is a constant; shapes and indices have no range."""
    found = {network.get_input(i).name: (network.get_input(i), False) for i in range(network.num_inputs)}
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        for j in range(layer.num_outputs):
            tensor = layer.get_output(j)
            if tensor is not None:
                found.setdefault(tensor.name, (tensor, layer.type == trt.LayerType.CONSTANT))
    return [(t, constant) for t, constant in found.values() if t.dtype in (trt.float32, trt.float16)]


def constrain(network: Any, lib: Library, options: BuildOptions) -> None:
    """Fix the precision of the layers that the options name.

    Raises
    ------
    InputError
        When a pattern matches no layer.
    """
    trt = lib.module
    types = {"fp32": trt.float32, "fp16": trt.float16, "int8": trt.int8, "bf16": getattr(trt, "bfloat16", None)}
    unused = set(options.layers)
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        names = [layer.name, *(layer.get_output(j).name for j in range(layer.num_outputs))]
        hits = [p for p in options.layers if any(fnmatchcase(name, p) for name in names)]
        if hits and layer.type not in (trt.LayerType.CONSTANT, trt.LayerType.SHAPE):
            layer.precision = types[options.layers[hits[-1]]]
        unused.difference_update(hits)
    if unused:
        patterns = ", ".join(f"«{p}»" for p in sorted(unused))
        raise InputError(
            f"No layer and no output tensor of the network matches {patterns}; layers have the ONNX nodes' names."
        )
