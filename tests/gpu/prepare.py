"""Makes the scale tables that the GPU machine needs, on any machine: `python -m tests.gpu.prepare lite0 --model … --out …`.

Each table has a scale for every float activation of the network, so that it fills a calibration cache and Q/DQ alike.
"""

import argparse
import sys
from pathlib import Path

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.names import parse_method
from quantlab.collector.collect import collect
from quantlab.data import images
from quantlab.storage.scale_table_json import write_scale_table
from tests.gpu.subjects import BATCH, LABEL, SUBJECTS, ordered

METHODS = ("squared-error", "minmax", "percentile:99.999")


def table_path(folder: Path, network: str, method: str) -> Path:
    return folder / f"{network}.{method.partition(':')[0]}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(SUBJECTS))
    parser.add_argument("--model", type=Path, required=True, help="the float network")
    parser.add_argument(
        "--calibration", type=Path, required=True, help="folder of images; order.txt beside it is obeyed"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--limit", type=int, help="so many images only, for a rehearsal")
    asked = parser.parse_args()
    subject = SUBJECTS[asked.network]
    paths = ordered(asked.calibration)[: asked.limit]
    data = images(paths, preprocess=subject.preprocess, batch=BATCH, label_pattern=LABEL, name="calib")
    asked.out.mkdir(parents=True, exist_ok=True)
    with engines.ort(asked.model, expose="all") as engine:
        histograms = collect(engine, data)
    for name in METHODS:
        path = table_path(asked.out, subject.name, name)
        write_scale_table(path, calibrate(histograms, parse_method(name)))
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
