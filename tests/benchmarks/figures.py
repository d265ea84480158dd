"""Writes measured figures to reports/figures: name, value, unit, the command that printed it, versions and hardware."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from quantlab.atomic import atomic_path
from quantlab.engines.cpu import instruction_set, processor
from quantlab.versions import versions

FIGURES = Path(__file__).parents[2] / "reports" / "figures"


def write_figures(file: str, command: str, figures: Mapping[str, tuple[float | int | str, str]]) -> Path:
    """Write {name: (value, unit)} with what they were measured on; return the file."""
    import onnx
    import onnxruntime

    record = {
        "command": command,
        "measured": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "hardware": {"processor": processor(), "instruction_set": instruction_set(), "cores": os.cpu_count()},
        "versions": {
            **versions(f"onnxruntime {onnxruntime.__version__}", f"onnx {onnx.__version__}"),
            "system": platform.system(),
        },
        "figures": [{"name": name, "value": value, "unit": unit} for name, (value, unit) in figures.items()],
    }
    path = FIGURES / f"{file}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, (value, unit) in figures.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        sys.stdout.write(f"{name}: {shown} {unit}\n")
    return path


def reference() -> Path:
    """Return the reference material's folder, or stop with a sentence."""
    folder = os.environ.get("QUANTLAB_REFERENCE")
    if not folder or not Path(folder).is_dir():
        sys.exit("Set QUANTLAB_REFERENCE to the folder of the reference material.")
    return Path(folder)
