"""Everything that needs a GPU, in one command: the tests, then every figure of `reports/gpu`.

    python -m tests.gpu --models MODELS --images IMAGES --tables TABLES --out FOLDER [--plugin libhswish.so --scales SCALES]

MODELS holds `efficientnet_lite0.onnx` and `yolov3_tiny.onnx`, IMAGES the folders `calib` and `eval` with `order.txt`, TABLES what
`python -m tests.gpu.prepare` wrote. Each step is a process of its own, so that one that fails costs the others nothing; figures
that are in FOLDER already are not measured again. `steps.json` says what ran, how long and how it ended.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from quantlab.engines.cuda.memory import Device, devices
from quantlab.engines.tensorrt.runtime import library
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Step:
    """A process, by the arguments after `python -m`."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step ended."""

    name: str
    command: str
    code: int
    seconds: float


def main() -> None:
    asked = _arguments()
    if not devices():
        sys.exit("This machine has no NVIDIA GPU, or no driver or cuda-python for it.")
    asked.out.mkdir(parents=True, exist_ok=True)
    ended = []
    for step in steps(asked):
        sys.stdout.write(f"== {step.name}\n")
        sys.stdout.flush()
        start = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", *step.arguments], check=False).returncode
        ended.append(Ended(step.name, f"python -m {' '.join(step.arguments)}", code, time.perf_counter() - start))
        _keep(asked.out, ended)
    sys.exit(max(part.code for part in ended))


def steps(asked: argparse.Namespace) -> tuple[Step, ...]:
    """Return what is done, in order; the plugin's step only where a library is named."""
    out, timings = str(asked.out), ("--timing-cache", str(asked.out / "timings"))
    lite0, yolo = str(asked.models / "efficientnet_lite0.onnx"), str(asked.models / "yolov3_tiny.onnx")
    sets = ("--calibration", str(asked.images / "calib"), "--evaluation", str(asked.images / "eval"))
    tables = ("--tables", str(asked.tables))
    plugin = ("--plugin", str(asked.plugin), *(("--scales", str(asked.scales)) if asked.scales else ()))
    found = (
        Step("tests", ("pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu")),
        Step("lite0", ("tests.gpu.measure", "lite0", "--model", lite0, *sets, *tables, "--out", out, *timings)),
        Step(
            "yolov3_tiny", ("tests.gpu.measure", "yolov3_tiny", "--model", yolo, *sets, *tables, "--out", out, *timings)
        ),
        Step("placement", ("tests.gpu.placement_study", "--model", lite0, *tables, "--out", out, *timings)),
        Step(
            "collecting",
            ("tests.gpu.collecting", "--model", lite0, "--data", str(asked.images), "--out", f"{out}/collecting.json"),
        ),
        Step("shapes", ("tests.gpu.shapes", "--model", yolo, *sets, "--out", out, *timings)),
        Step("plugin", ("tests.gpu.hswish", *plugin, "--out", out)),
        Step("summary", ("tests.gpu.summary", out, "--copy", str(asked.out / "gpu"))),
    )
    return tuple(step for step in found if step.name != "plugin" or asked.plugin)


def _keep(folder: Path, ended: list[Ended]) -> None:
    lib = library()
    document = {
        "device": Device().name,
        "versions": versions(f"{lib.name} {lib.version}"),
        "steps": [asdict(part) for part in ended],
    }
    (folder / "steps.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("models", "images", "tables", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--plugin", type=Path, help="libhswish.so, as notebooks/custom_layer builds it")
    parser.add_argument("--scales", type=Path, help="scale table of hswish_net.onnx")
    return parser.parse_args()


if __name__ == "__main__":
    main()
