"""The custom layer of `notebooks/custom_layer` on a GPU: its plugin in FP32, FP16 and INT8 beside built-in operators.

Run as `python -m tests.gpu.hswish --out FOLDER --plugin libhswish.so [--scales SCALES.json]`: it writes `hswish.json`,
and each engine's logits as float16 into `hswish_logits.npz`. SCALES are those of `hswish_net.onnx` as the folder's README
makes them; without them the net is calibrated here, for which onnxruntime-extensions is needed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper

import quantlab as ql
from quantlab import engines
from quantlab.audit.inspector import EngineTensor, parse_inspector
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.data import Preprocess, arrays
from quantlab.engines.cuda.memory import Device
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    FromRanges,
    Int8Source,
    NativeCalibration,
    Precision,
    Profile,
)
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.timing import time_engine
from quantlab.numerics.arrays import F32, AnyArray
from quantlab.numerics.error_sums import ErrorSums
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.versions import versions

ROOT = Path(__file__).parents[2]
FOLDER, SETS = ROOT / "notebooks" / "custom_layer", ROOT / "calib_data"
CUSTOM, BUILT_IN, OPERATORS = FOLDER / "hswish_net.onnx", FOLDER / "hswish_builtin.onnx", FOLDER / "hswish_ort.py"
PREPROCESS = Preprocess(color="GRAY", scale=1 / 255, mean=0.2860, std=0.3530)
IMAGES, CALIBRATION, BATCHES = 256, 512, (1, 32, 128)
ONE_SHAPE = (8, 40, 14, 14)
"""Of the layer alone: 40 channels fill no vector of 32, so that its padding is run too."""

Figures: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """One engine of the table."""

    name: str
    model: Any
    options: BuildOptions
    int8: Int8Source | None = None


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def read(name: str, limit: int) -> tuple[F32, AnyArray]:
    """Return preprocessed images float32 [limit,1,28,28] and their labels."""
    batches = list(arrays(SETS / f"{name}.npz", preprocess=PREPROCESS, batch=500))
    images = np.concatenate([dict(batch.bind(["image"]))["image"] for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
    return images[:limit], labels[:limit]


def calibrated(model: Path, *, custom_ops: tuple[Path, ...] = ()) -> ScaleTable:
    """Return scales of every tensor, as TensorRT's implicit quantization wants them."""
    data = arrays(SETS / "calibration.npz", preprocess=PREPROCESS, batch=32, name="calibration")
    with engines.ort(model, expose="all", custom_ops=custom_ops) as engine:
        return ql.calibrate(ql.collect(engine, data))


def variants(custom: ScaleTable, built_in: ScaleTable, plugin: str, images: F32) -> Iterator[Variant]:
    """Yield every engine, the reference of the others first."""
    size = images.shape[1:]
    profile = Profile({"image": ((1, *size), (max(BATCHES), *size), (max(BATCHES), *size))})

    def options(precision: Any, *, plugins: tuple[str, ...] = ()) -> BuildOptions:
        return BuildOptions(precision=(precision,), profiles=(profile,), plugins=plugins)

    batches = [{"image": images[i : i + 32]} for i in range(0, len(images), 32)]
    native = NativeCalibration(algorithm="entropy2", batches=batches, batch=32)
    explicit = quantize(CUSTOM, custom, options=QuantizeOptions(target="tensorrt@8.6")).model
    yield Variant("built-in FP32", BUILT_IN, options("fp32"))
    yield Variant("built-in FP16", BUILT_IN, options("fp16"))
    yield Variant("built-in INT8", BUILT_IN, options("int8"), FromRanges(built_in))
    with_plugin = (plugin,)
    yield Variant("plugin FP32", CUSTOM, options("fp32", plugins=with_plugin))
    yield Variant("plugin FP16", CUSTOM, options("fp16", plugins=with_plugin))
    yield Variant("plugin INT8", CUSTOM, options("int8", plugins=with_plugin), FromRanges(custom))
    yield Variant("plugin INT8, native Entropy2", CUSTOM, options("int8", plugins=with_plugin), native)
    yield Variant("plugin Q/DQ", explicit, options("int8", plugins=with_plugin))


def measured(engine: TrtEngine, images: F32, labels: AnyArray, exact: F32) -> tuple[F32, Figures]:
    """Return the engine's logits and its figures."""
    logits = logits_of(engine, images)
    times = [
        asdict(time_engine(engine, {"image": images[:rows]}, graph=graph))
        for rows in BATCHES
        for graph in (False, True)
    ]
    return logits, {
        "top_1": float(np.mean(logits.argmax(1) == labels)),
        "agreement": float(np.mean(logits.argmax(1) == exact.argmax(1))),
        "logit_sqnr_db": ErrorSums.of(exact, logits).sqnr_db,
        "largest_difference": float(np.abs(logits - exact).max()),
        "latency": times,
        "layer_milliseconds": engine.profile({"image": images[: max(BATCHES)]}),
        "card": engine.plan.card.to_json(),
        **layers(engine.inspect({"image": images[: max(BATCHES)]})),
    }


def logits_of(engine: Engine, images: F32) -> F32:
    step = max(BATCHES)
    batches = (images[i : i + step] for i in range(0, len(images), step))
    return np.concatenate([np.array(engine.run({"image": batch})["logits"]) for batch in batches])


def layers(text: str) -> Figures:
    """Return in which format each plugin layer reads and writes, and the precision of every layer."""
    found = parse_inspector(text).layers

    def formats(tensors: tuple[EngineTensor, ...]) -> list[str]:
        return [tensor.layout for tensor in tensors]

    return {
        "plugin_layers": {
            layer.name: {"reads": formats(layer.inputs), "writes": formats(layer.outputs)}
            for layer in found
            if "plugin" in layer.kind.lower()
        },
        "layers": [[layer.name, layer.kind, layer.precision, layer.output_precision] for layer in found],
    }


def formats(plugin: str, table: ScaleTable) -> Figures:
    """Return in which format each plugin layer runs in an INT8 and an FP16 plan; TensorRT 8.6 tells it of fixed shapes alone."""
    proto = onnx.load(CUSTOM)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = max(BATCHES)
    del proto.graph.value_info[:]
    found: Figures = {}
    cases: tuple[tuple[Precision, Int8Source | None], ...] = (
        ("fp16", None),
        ("int8", FromRanges(replace(table, provenance=None))),
    )
    for name, int8 in cases:
        try:
            with engines.trt(proto, options=BuildOptions(precision=(name,), plugins=(plugin,)), int8=int8) as engine:
                found[name] = layers(engine.inspect())["plugin_layers"]
        except ql.QuantlabError as error:
            found[name] = {"failed": str(error)}
        say(f"formats, {name}: {json.dumps(found[name], ensure_ascii=False)}")
    return found


def layer_alone() -> onnx.ModelProto:
    """Return a model that is the custom node and a pooling over single values, which changes none.

    TensorRT's outputs are float: a plugin that writes them has no INT8 form, so another layer does.
    """
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ONE_SHAPE) for name in ("x", "y")]
    node = helper.make_node("HSwish", ["x"], ["h"], "hswish", domain="quantlab")
    last = helper.make_node("MaxPool", ["h"], ["y"], "last", kernel_shape=[1, 1])
    graph = helper.make_graph([node, last], "alone", shapes[:1], shapes[1:])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("quantlab", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7)


def exactness(plugin: str) -> Figures:
    """Run the layer alone in each type; count the values that differ from NumPy's, which rounds at the same places."""
    x = np.random.default_rng(0).normal(0, 3, ONE_SHAPE).astype(np.float32)
    scales = {"x": np.float32(5 / 64), "h": np.float32(1 / 16), "y": np.float32(1 / 16)}  # 127 times each is a float32
    rows = tuple(Scale(name, (float(s),)) for name, s in scales.items())
    with_plugin = (plugin,)
    cases: Mapping[str, tuple[BuildOptions, Int8Source | None, F32]] = {
        "fp32": (BuildOptions(plugins=with_plugin), None, hswish(x)),
        "fp16": (
            BuildOptions(precision=("fp16",), plugins=with_plugin, layers={"hswish": "fp16"}),
            None,
            rounded_half(hswish(rounded_half(x))),
        ),
        "int8": (
            BuildOptions(precision=("int8",), plugins=with_plugin, layers={"hswish": "int8"}),
            FromRanges(ScaleTable(rows)),
            fake_quantized(hswish(fake_quantized(x, scales["x"])), scales["h"]),
        ),
    }
    found: Figures = {}
    for name, (options, int8, expected) in cases.items():
        try:
            with engines.trt(layer_alone(), options=options, int8=int8) as engine:
                got = np.array(engine.run({"x": x})["y"])
                found[name] = {
                    "values": got.size,
                    "differ_in_this_type": int(np.sum(got != expected)),
                    "differ_from_fp32": int(np.sum(got != hswish(x))),
                    **layers(engine.inspect({"x": x})),
                }
        except ql.QuantlabError as error:
            found[name] = {"failed": str(error)}
        say(f"alone, {name}: {json.dumps({k: v for k, v in found[name].items() if k != 'layers'}, ensure_ascii=False)}")
    return found


def hswish(x: F32) -> F32:
    return x * np.clip(x + np.float32(3), np.float32(0), np.float32(6)) / np.float32(6)


def rounded_half(x: F32) -> F32:
    return x.astype(np.float16).astype(np.float32)


def fake_quantized(x: F32, scale: np.float32) -> F32:
    return (np.clip(np.rint(x / scale), -128, 127) * scale).astype(np.float32)


def attempted(variant: Variant, images: F32, labels: AnyArray, exact: F32) -> tuple[F32 | None, Figures]:
    """Return the figures of one engine; a refusal is a result too, and the others still run."""
    start = time.perf_counter()
    try:
        with engines.trt(variant.model, options=variant.options, int8=variant.int8) as engine:
            logits, figures = measured(engine, images, labels, exact)
    except ql.QuantlabError as error:
        say(f"{variant.name}: {error}")
        return None, {"failed": str(error)}
    middle = next(t["median_ms"] for t in figures["latency"] if t["batch"] == max(BATCHES) and t["graph"])
    say(
        f"{variant.name}: agreement {figures['agreement']:.4f}, {figures['logit_sqnr_db']:.1f} dB, {middle:.4f} ms at "
        f"{max(BATCHES)}, all in {time.perf_counter() - start:.0f} s"
    )
    return logits, figures


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plugin", type=Path, default=FOLDER / "build" / "libhswish.so")
    parser.add_argument("--scales", type=Path)
    parser.add_argument(
        "--layers-only", action="store_true", help="which formats the plugin runs in, and the layer alone"
    )
    parser.add_argument(
        "--only", metavar="NAMES", help="engines, separated by commas; neither formats nor the layer alone"
    )
    asked = parser.parse_args()
    images, labels = read("evaluation", IMAGES)
    with engines.ort(BUILT_IN) as engine:
        exact, backend = logits_of(engine, images), engine.backend
    custom = read_scale_table(asked.scales) if asked.scales else calibrated(CUSTOM, custom_ops=(OPERATORS,))
    built_in = calibrated(BUILT_IN)
    say(f"{len(custom.rows)} and {len(built_in.rows)} tensors have scales")
    plugin = str(asked.plugin.resolve())
    asked.out.mkdir(parents=True, exist_ok=True)
    if not asked.only:
        chosen = {"device": Device().name, "formats": formats(plugin, custom), "alone": exactness(plugin)}
        (asked.out / "hswish_layers.json").write_text(
            json.dumps(chosen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    if asked.layers_only:
        return
    logits, found = {"onnxruntime FP32": exact}, {}
    for variant in variants(custom, built_in, plugin, read("calibration", CALIBRATION)[0]):
        if asked.only and variant.name not in asked.only.split(","):
            continue
        got, found[variant.name] = attempted(variant, images, labels, exact)
        if got is not None:
            logits[variant.name] = got
    document = {
        "device": Device().name,
        "versions": versions(backend),
        "images": IMAGES,
        "reference": f"{backend}, {BUILT_IN.name}",
        "digests": {path.name: sha256(path) for path in (CUSTOM, BUILT_IN, asked.plugin)},
        "scales": {row.tensor: row.scale[0] for row in custom.rows},
        "engines": found,
    }
    halves: dict[str, Any] = {name: values.astype(np.float16) for name, values in logits.items()}
    np.savez_compressed(asked.out / "hswish_logits.npz", **halves)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (asked.out / "hswish.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
