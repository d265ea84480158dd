"""Times Q/DQ placements of EfficientNet-Lite0 beside the implicit INT8 plan, to tell which nodes make the difference.

    python -m tests.gpu.placement_study --model efficientnet_lite0.onnx --tables TABLES --out FOLDER [--theirs qdq_by_ort.onnx]

Every variant's ONNX file, times, inspector text and layer times are kept, for `quantlab inspect plan` and
`quantlab.audit.difference`. A variant that is there is not measured again; `--engines ort` rehearses without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.gpu_cost import measured_cost
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.errors import QuantlabError
from tests.gpu.measure import keep_layers, say, write
from tests.gpu.subjects import LITE0, Images, InMemory
from tests.gpu.variants import TARGET, Bench

ROUNDS = 300
Made = Callable[[Bench], onnx.ModelProto]


def main() -> None:
    asked = _arguments()
    began = time.perf_counter()
    asked.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(LITE0, asked.model, _no_images(), asked.tables, asked.sizes, asked.out, asked.timing_cache)
    variants: dict[str, Made | None] = {"implicit": None, **VARIANTS}
    if asked.theirs is not None:
        variants["theirs"] = lambda _bench: onnx.load(asked.theirs)
    for name, made in variants.items():
        if (asked.only and name not in asked.only) or (asked.out / f"placement.{name}.json").exists():
            continue
        if asked.budget is not None and time.perf_counter() - began > asked.budget:
            say(f"the budget is used up: {name} and those after it are left for the next call")
            return
        try:
            _measured(bench, name, made, rehearsal=asked.engines == "ort", rounds=asked.rounds)
        except QuantlabError as error:  # one variant that cannot be built must not take the others' time
            say(f"{name}: NOT MEASURED: {error}")
    _compared(asked.out, list(variants))


def _measured(bench: Bench, name: str, made: Made | None, *, rehearsal: bool, rounds: int) -> None:
    began = time.perf_counter()
    place = bench.out / f"placement.{name}"
    if made is None:
        engine: Engine = bench.rehearse("cache") if rehearsal else bench.build("cache")
    else:
        onnx.save(made(bench), f"{place}.onnx")
        path = Path(f"{place}.onnx")
        engine = engines.ort(path) if rehearsal else engines.trt(path, options=bench.options("fp32", "int8"))
    with engine:
        samples = {n: _drawn(bench) for n in engine.inputs}
        cost = measured_cost(engine, samples, bench.sizes, rounds=rounds)
        if isinstance(engine, TrtEngine):
            keep_layers(place, engine, samples, bench.sizes)
    times = {f"b{t.batch}{' graph' if t.graph else ''}": t.median_ms for t in cost.times}
    seconds = time.perf_counter() - began
    pairs = 0 if made is None else _pairs(onnx.load(f"{place}.onnx"))
    card = engine.plan.card if isinstance(engine, TrtEngine) else None
    ran = {"device": card.device, "version": f"{card.library} {card.version}"} if card else {"device": engine.backend}
    document = {
        "variant": name,
        **ran,
        "milliseconds": times,
        "bytes": cost.model_bytes,
        "seconds": seconds,
        "qdq": pairs,
    }
    write(Path(f"{place}.json"), json.dumps(document, indent=1))
    say(f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in times.items())} ms ({seconds:.0f} s)")


def _compared(folder: Path, names: list[str]) -> None:
    paths = {name: folder / f"placement.{name}.json" for name in names}
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    if "implicit" not in found:
        return
    pace = found["implicit"]["milliseconds"]
    ratios = {name: {key: ms / pace[key] for key, ms in part["milliseconds"].items()} for name, part in found.items()}
    write(folder / "placement.json", json.dumps({"over implicit": ratios, "variants": found}, indent=1))
    for name, row in ratios.items():
        say(f"{name:>16}: " + ", ".join(f"{key} {100 * (ratio - 1):+.1f} %" for key, ratio in row.items()))


def _quantized(bench: Bench, table: ScaleTable | None = None, **options: Any) -> onnx.ModelProto:
    settings = QuantizeOptions(target=TARGET, **options)
    return quantize(bench.model, table or bench.table, options=settings).model.proto


def _float_residual(bench: Bench) -> onnx.ModelProto:
    """Return our model in which each Add gets its residual input in float."""
    proto = _quantized(bench)
    dequantized = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    sources = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    for node in proto.graph.node:
        if node.op_type == "Add":
            node.input[:] = [sources.get(dequantized.get(name, ""), name) for name in node.input]
    return proto


def _both_inputs(bench: Bench) -> onnx.ModelProto:
    """Return our model in which each Add gets both inputs quantized."""
    proto = _quantized(bench)
    dequantized = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Add":
            for index, name in enumerate(node.input):
                if name not in dequantized and name in bench.table:
                    nodes += _pair(proto, name, bench.table[name].scale[0])
                    node.input[index] = f"{name}_both_dequantized"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    onnx.checker.check_model(proto)
    return proto


def _every_tensor(bench: Bench) -> onnx.ModelProto:
    """Return our model in which the output of each Add has a pair of its own for every reader: its Add and its Conv."""
    proto = _quantized(bench)
    sources = {node.output[0]: node for node in proto.graph.node}
    nodes = []
    for number, node in enumerate(proto.graph.node):
        for index, name in enumerate(node.input):
            before = sources.get(name)
            if node.op_type == "Add" and before is not None and before.op_type == "DequantizeLinear":
                quantizer = sources[before.input[0]]
                copies = [_copy(quantizer, number), _copy(before, number)]
                copies[1].input[0] = copies[0].output[0]
                nodes += copies
                node.input[index] = copies[1].output[0]
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    onnx.checker.check_model(proto)
    return proto


def _copy(node: onnx.NodeProto, number: int) -> onnx.NodeProto:
    made = onnx.NodeProto.FromString(node.SerializeToString())
    made.name, made.output[0] = f"{node.name}_for_{number}", f"{node.output[0]}_for_{number}"
    return made


def _pair(proto: onnx.ModelProto, name: str, scale: float) -> list[onnx.NodeProto]:
    constants = (f"{name}_both_scale", f"{name}_both_zero")
    known = {tensor.name for tensor in proto.graph.initializer}
    if constants[0] in known:
        return []
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(scale), constants[0]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.int8(0), constants[1]))
    quantized, restored = f"{name}_both_quantized", f"{name}_both_dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, *constants], [quantized], name=f"{name}_both_Q"),
        helper.make_node("DequantizeLinear", [quantized, *constants], [restored], name=f"{name}_both_DQ"),
    ]


def _pairs(proto: onnx.ModelProto) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in proto.graph.node)


def _drawn(bench: Bench) -> Any:
    shape = (max(bench.sizes), *bench.subject.shape)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _no_images() -> Images:
    from quantlab.data.fingerprint import identify

    nothing = InMemory(identify("none", []), ())
    return Images(nothing, nothing, nothing)


VARIANTS: dict[str, Made] = {
    "ours": _quantized,
    "head_int8": lambda bench: _quantized(bench, head="int8"),
    "weights_qdq": lambda bench: _quantized(bench, weights="qdq"),
    "float_residual": _float_residual,
    "both_inputs": _both_inputs,
    "own_pair": _every_tensor,
}
"""Placements by name; each differs from «ours» in one thing."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--theirs", type=Path, help="a Q/DQ model of the same network by another program")
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=(1, 32, 128))
    parser.add_argument("--timing-cache")
    parser.add_argument("--budget", type=float)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--engines", choices=("trt", "ort"), default="trt")
    return parser.parse_args()


if __name__ == "__main__":
    main()
