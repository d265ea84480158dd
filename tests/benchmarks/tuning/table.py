"""One table of what `peers` and `climbing` measured: `python -m tests.benchmarks.tuning.table FOLDER` writes
reports/figures/tuning.json and tuning.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantlab.atomic import atomic_path
from tests.benchmarks.figures import FIGURES, write_figures
from tests.benchmarks.tuning.climbing import RUNG
from tests.benchmarks.tuning.subjects import SUBJECTS

Row = dict[str, Any]
COLUMNS = ("subject", "network", "lost, points [95 %]", "same as FP32", "SQNR dB", "task", "float", "wall s", "CPU s")


README = {
    "lite0": ("EfficientNet-Lite0, same class", "same as FP32"),
    "lite1": ("EfficientNet-Lite1, same class", "same as FP32"),
    "fashion": ("the network that ships, same class", "same as FP32"),
    "digits10": ("digits, channels spread by 10, same class", "same as FP32"),
    "digits30": ("digits, channels spread by 30, same class", "same as FP32"),
    "yolo": ("YOLOv3-tiny, AP50 against FP32's boxes", "AP50 against FP32's boxes"),
    "minilm": ("MiniLM-L6, cosine with FP32's embedding", "same as FP32"),
    "ocr": ("PP-OCRv4 recogniser, words as in FP32", "same as FP32"),
}
"""What README says of each subject, and the figure it quotes."""


def readme_rows(values: Mapping[str, Any]) -> list[str]:
    """Return README's rows from the figures by name."""
    rows = []
    for subject, (title, figure) in README.items():
        shares = [f"{values[f'{subject}, {who}: {figure}']:.4f}" for who in ("nncf", "tune")]
        noise = [f"{_least(values, subject, who):.1f}" for who in ("nncf", "tune")]
        seconds = [f"{values[f'{subject}, {who}: cpu time']:.1f}" for who in ("nncf", "tune")]
        rows.append(f"| {title} | {' | '.join((*shares, *noise, *seconds))} |")
    return rows


def _least(values: Mapping[str, Any], subject: str, who: str) -> float:
    begin = f"{subject}, {who}: SQNR of "
    return min(float(value) for name, value in values.items() if name.startswith(begin))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `peers` and `climbing` filled")
    asked = parser.parse_args()
    lines, figures = [], dict[str, tuple[float | int | str, str]]()
    for name in SUBJECTS:
        path = asked.folder / f"{name}.json"
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        for label, row in document["rows"].items():
            if "failed" not in row:
                lines.append(_line(name, label, row))
                figures |= _figures(name, label, row)
        if "tune" in document:
            figures[f"{name}, verdict on the tuning set"] = (document["tune"]["verdict"], "")
    text = "\n".join(("| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), *lines))
    with atomic_path(FIGURES / "tuning.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    write_figures("tuning", "python -m tests.benchmarks.tuning.table FIGURES", figures)
    if all(f"{name}, tune: cpu time" in figures for name in README):
        rows = readme_rows({name: value for name, (value, _) in figures.items()})
        sys.stdout.write("\n".join(rows) + "\n")


def _line(subject: str, label: str, row: Row) -> str:
    top, same = row.get("top-1"), _same(row)
    lost = "" if top is None else f"{top['drop_points']:.2f} [{top['interval'][0]:.2f}, {top['interval'][1]:.2f}]"
    seconds = row.get("seconds", {})
    cells = (
        subject,
        label.removeprefix(RUNG) if label.startswith(RUNG) else f"**{label}**",
        lost,
        "" if same is None else f"{same:.4f}",
        " / ".join(f"{db:.1f}" for db in row["sqnr_db"].values()) if label != "fp32" else "",
        _task(row),
        "" if "float_nodes" not in row else f"{len(row['float_nodes'])} of {row['weighted_nodes']}",
        _seconds(seconds.get("wall")),
        _seconds(seconds.get("cpu")),
    )
    return "| " + " | ".join(cells) + " |"


def _same(row: Row) -> float | None:
    for value in row.values():
        if isinstance(value, dict) and "mean" in value:
            return float(value["mean"])
    return None


def _task(row: Row) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in _whole(row).items())


def _whole(row: Row) -> dict[str, float]:
    """Return the scores of whole sets: plain numbers, or those with the twin's beside."""
    found = {}
    for name, value in row.items():
        if isinstance(value, dict) and "int8" in value and "drop_points" not in value:
            found[name] = float(value["int8"])
    return found


def _figures(subject: str, label: str, row: Row) -> dict[str, tuple[float | int | str, str]]:
    found: dict[str, tuple[float | int | str, str]] = {}
    begin = f"{subject}, {label}: "
    if "top-1" in row:
        found[f"{begin}lost"] = (row["top-1"]["drop_points"], "points")
        found[f"{begin}lost, least"] = (row["top-1"]["interval"][0], "points")
        found[f"{begin}lost, most"] = (row["top-1"]["interval"][1], "points")
    if (same := _same(row)) is not None:
        found[f"{begin}same as FP32"] = (same, "share or cosine")
    for output, db in row["sqnr_db"].items():
        if label != "fp32":
            found[f"{begin}SQNR of {output}"] = (db, "dB")
    found |= {f"{begin}{name}": (value, "") for name, value in _whole(row).items()}
    if "float_nodes" in row:
        found[f"{begin}weighted operators in float"] = (len(row["float_nodes"]), f"of {row['weighted_nodes']}")
    for kind in ("wall", "cpu"):
        if kind in row.get("seconds", {}):
            found[f"{begin}{kind} time"] = (row["seconds"][kind], "s")
    return found


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
