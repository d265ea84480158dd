"""An embedded bundle on a GPU machine: the plan that its programs build, against the one that `quantlab build` makes.

    python -m tests.gpu.deploying --bundle BUNDLE --images IMAGES --out FOLDER [--include DIR … --lib DIR]

BUNDLE is what `quantlab deploy embedded` wrote; IMAGES a folder of images, or an .npz of uint8 arrays. `make_plan.py` runs as on a
target; with --include (TensorRT's headers, NvOnnxParser.h among them, and CUDA's) and --lib (TensorRT's libraries) `make_plan.cpp` is
compiled and run too. `deploy.json` says what the plans give for the images, and is written after every step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import quantlab as ql
from quantlab.data.batch import Dataset
from quantlab.deploy.bundle import Bundle
from quantlab.deploy.tensor_specs import ends_of_plan
from quantlab.deploy.verify import verify
from quantlab.engines.cuda.memory import Device
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.plan import card_path, read_plan
from quantlab.engines.tensorrt.runtime import library
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums
from quantlab.versions import versions
from tests.benchmarks.sample import PREPROCESS
from tests.gpu.measure import say, write

IMAGES, BATCH = 64, 8
Figures: TypeAlias = dict[str, Any]
Outputs: TypeAlias = Mapping[str, AnyArray]


def main() -> None:
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    checked = verify(asked.bundle)
    lib = library()
    document: Figures = {
        "command": ["python", "-m", "tests.gpu.deploying", *(Path(word).name for word in sys.argv[1:])],
        "device": Device().name,
        "versions": versions(f"{lib.name} {lib.version}"),
        "bundle": {"target": checked.bundle.target, "settings": checked.bundle.settings, "checks": checked.checks},
        "plans": {},
    }
    data = opened(checked.bundle, asked.images)

    def keep(**found: object) -> None:
        document.update(found)
        write(asked.out / "deploy.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))

    keep()
    exact = outputs(ql.engines.ort(asked.bundle / "model.onnx", optimize=False), data)
    document["images"] = len(next(iter(exact.values())))
    results: dict[str, Outputs] = {}
    for name, built in plans(asked, checked.bundle):
        document["plans"][name] = built
        if "failed" not in built:
            results[name] = outputs(ql.engines.trt(asked.out / f"{name}.plan"), data)
            built["against_float"] = agreement(exact, results[name])
            if "quantlab_build" in results:
                built["against_quantlab_build"] = agreement(results["quantlab_build"], results[name])
            say(f"{name}: {built}")
        keep()
    ends = ends_of_plan(read_plan(asked.out / "make_plan_py.plan"), load_model(asked.bundle / "model.onnx"))
    keep(plan_tells={"inputs": list(map(str, ends.inputs.values())), "outputs": list(map(str, ends.outputs.values()))})
    sys.exit(any("failed" in built for built in document["plans"].values()))


def opened(bundle: Bundle, source: Path) -> Dataset:
    """Return the images, preprocessed as the calibration's were, or as EfficientNet-Lite0's where nothing tells."""
    declared = next((used.preprocess for used in bundle.chosen_on if used.preprocess), None)
    how = PREPROCESS if declared is None else ql.data.Preprocess.from_json(declared)
    if source.is_file():
        return ql.data.arrays(source, preprocess=how, batch=BATCH)
    return ql.data.images(sorted(source.iterdir())[:IMAGES], preprocess=how, batch=BATCH)


def outputs(engine: Engine, data: Dataset, most: int = IMAGES) -> Outputs:
    """Return every output for the first images."""
    parts: list[Outputs] = []
    with engine:
        for batch in data:
            found = engine.run(batch.bind(tuple(engine.inputs)))
            parts.append({name: np.array(value, np.float32) for name, value in found.items()})
            if sum(len(next(iter(part.values()))) for part in parts) >= most:
                break
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def agreement(expected: Outputs, got: Outputs) -> Figures:
    """Return the lowest SQNR of an output in dB (None: the same bits), and how often the largest value is in the same place."""
    sqnr = {name: ErrorSums.of(value, got[name]).sqnr_db for name, value in expected.items()}
    same = {name: np.array_equal(value, got[name]) for name, value in expected.items()}
    first, other = (next(iter(side.values())).reshape(len(next(iter(side.values()))), -1) for side in (expected, got))
    lowest = min(sqnr.values())
    return {
        "sqnr_db": lowest if np.isfinite(lowest) else None,
        "same_bits": all(same.values()),
        "same_largest": float((first.argmax(1) == other.argmax(1)).mean()),
    }


def plans(asked: argparse.Namespace, bundle: Bundle) -> Iterator[tuple[str, Figures]]:
    """Build every plan into --out, one after the other; what fails is a result too."""
    yield "quantlab_build", timed(build_command(asked, bundle))
    made = asked.out / "make_plan_py.plan"
    yield "make_plan_py", timed([sys.executable, str(asked.bundle / "make_plan.py"), "-o", str(made)])
    if asked.include and asked.lib:
        program = asked.out / "make_plan"
        found = timed(compile_command(asked, program))
        if "failed" not in found:
            other = asked.out / "make_plan_cpp.plan"
            ran = timed([str(program), str(asked.bundle), str(other)])
            found |= {"compile_seconds": found["seconds"], **ran}
            if "failed" not in ran:
                _adopt(other, made)
        yield "make_plan_cpp", found


def build_command(asked: argparse.Namespace, bundle: Bundle) -> list[str]:
    """Return the `quantlab build` command of the same plan."""
    settings, folder = bundle.settings, asked.bundle
    words = ["build", str(folder / "model.onnx"), "-o", str(asked.out / "quantlab_build.plan"), "--force"]
    words += ["--precision", "+".join(settings["precision"])]
    words += ["--cache", str(folder / "calibration.cache")] if settings["form"] == "cache" else []
    for profile in settings["profiles"]:
        for name, ends in profile.items():
            words += ["--shapes", f"{name}:{','.join('x'.join(map(str, shape)) for shape in ends)}"]
    words += ["--workspace", str(settings["workspace"])] if settings["workspace"] is not None else []
    return [sys.executable, "-c", "from quantlab.cli.main import main; main()", *words]


def compile_command(asked: argparse.Namespace, program: Path) -> list[str]:
    """Return the compiler's command; libraries are given by file, as a runtime package has no names without version."""
    libraries = [next(iter(sorted(asked.lib.glob(f"{name}.so*"))), asked.lib / name) for name in _LIBRARIES]
    headers = [word for folder in asked.include for word in ("-isystem", str(folder))]
    loose = ["-Wl,--unresolved-symbols=ignore-in-shared-libs", f"-Wl,-rpath,{asked.lib}"]
    source = str(asked.bundle / "make_plan.cpp")
    return [
        shutil.which("g++") or "g++",
        "-std=c++14",
        "-O1",
        source,
        "-o",
        str(program),
        *headers,
        *map(str, libraries),
        *loose,
    ]


_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


def timed(command: list[str]) -> Figures:
    """Run a command; return its seconds, and the end of what it said where it failed."""
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error), "seconds": time.perf_counter() - start}
    found: Figures = {"seconds": time.perf_counter() - start}
    if done.returncode:
        found["failed"] = {"code": done.returncode, "said": done.stderr[-2000:]}
        say(done.stderr[-2000:])
    return found


def _adopt(plan: Path, other: Path) -> None:
    """Give a plan without a card the other's, with its own digest and size, so that quantlab opens it."""
    data = plan.read_bytes()
    card = json.loads(card_path(other).read_text(encoding="utf-8"))
    card |= {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
    card_path(plan).write_text(json.dumps(card), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "images", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--include", type=Path, action="append", default=[], help="TensorRT's headers, and CUDA's")
    parser.add_argument("--lib", type=Path, help="TensorRT's libraries")
    return parser.parse_args()


if __name__ == "__main__":
    main()
