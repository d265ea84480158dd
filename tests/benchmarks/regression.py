"""What the gate catches and what it lets pass: `python -m tests.benchmarks.regression`; takes ten minutes on two cores."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

import quantlab as ql
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MetricKind, SampleTable
from quantlab.data import Preprocess, arrays, images
from quantlab.data.batch import Dataset
from quantlab.numerics.arrays import I64
from quantlab.regression.policy import LABEL, Policy, SliceLimit
from quantlab.regression.regress import regress
from quantlab.regression.regression import Regression
from quantlab.regression.run import Run
from tests.benchmarks import sample
from tests.benchmarks.figures import reference, write_figures

SHIPPED = Path(__file__).parents[2] / "calib_data"
FASHION = Preprocess(color="GRAY", layout="NCHW", scale=1 / 255, mean=0.2860, std=0.3530)
POLICY = Policy(slices=(SliceLimit(),))
METHODS: Mapping[str, Any] = {
    "percentile:99.999": ql.Percentile(99.999),
    "entropy": ql.Entropy(),
    "minmax": ql.MinMax(),
}
RESAMPLES = 200
"""A draw of the null hypothesis; there are ten, of the seeds 0 … 9."""
DRAWS = 10

Figures = dict[str, tuple[float | int | str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """One run: what calibrates it, what scores it, and how."""

    network: Path
    calibration: Callable[[], Dataset]
    evaluation: Callable[[], Dataset]
    method: Any
    edited: Callable[[ScaleTable], ScaleTable] | None = None
    threads: int = 1
    batch: int | None = None


def made(name: str, recipe: Recipe) -> Run:
    """Return the run of a recipe: collected, calibrated, quantized and compared."""
    with ql.engines.ort(recipe.network, expose="quantizable", threads=recipe.threads) as engine:
        histograms = ql.collect(engine, recipe.calibration())
    scales = ql.calibrate(histograms, recipe.method)
    if recipe.edited is not None:
        scales = recipe.edited(scales)
    built = ql.quantize(recipe.network, scales)
    with ql.engines.ort(recipe.network, threads=recipe.threads) as fp32, ql.engines.simulation(built.model) as int8:
        found = ql.compare(fp32, int8, recipe.evaluation(), metrics=(ql.TopK(1),))
    return Run(name, found, scales=scales, histograms=lambda: histograms, int8_model=built.model.digest)


class Fashion:
    """FashionNet and its images: those of the training set that ship, in any choice, and the 5,000 test images."""

    def __init__(self, folder: Path) -> None:
        parts = [np.load(SHIPPED / f"{name}.npz") for name in ("calibration", "tuning")]
        self.pixels = np.concatenate([part["image"] for part in parts])
        self.labels = np.concatenate([part["label"] for part in parts])
        self.order = np.random.default_rng(0).permutation(len(self.labels))
        self.folder = folder

    def chosen(self, name: str, rows: I64, preprocess: Preprocess = FASHION, batch: int = 32) -> Callable[[], Dataset]:
        path = self.folder / f"{name}.npz"
        np.savez(path, image=self.pixels[rows], label=self.labels[rows])
        return lambda: arrays(path, preprocess=preprocess, batch=batch, name=name)

    def part(self, number: int, **options: Any) -> Callable[[], Dataset]:
        """Return one of five disjoint sets of 512."""
        return self.chosen(f"set {number}", self.order[512 * number : 512 * (number + 1)], **options)

    def one_class(self, label: int) -> Callable[[], Dataset]:
        """Return the 300 images of one class."""
        return self.chosen(f"class {label}", np.flatnonzero(self.labels == label))

    def scored(self, preprocess: Preprocess = FASHION, batch: int = 32) -> Callable[[], Dataset]:
        return lambda: arrays(SHIPPED / "evaluation.npz", preprocess=preprocess, batch=batch)

    def recipe(self, method: Any, **changes: Any) -> Recipe:
        return replace(Recipe(SHIPPED / "fashion_net.onnx", self.part(0), self.scored(), method), **changes)


def quadrupled(tensor: str) -> Callable[[ScaleTable], ScaleTable]:
    """Return what multiplies one tensor's scale by 4."""

    def edited(table: ScaleTable) -> ScaleTable:
        row = table[tensor]
        return table.with_rows([replace(row, scale=tuple(4 * value for value in row.scale))])

    return edited


def fashion_regressions(method: str, folder: Path, *, thorough: bool) -> tuple[dict[str, Regression], Run]:
    """Return the regressions planted in FashionNet and the harmless changes, and the baseline."""
    data, chosen = Fashion(folder), METHODS[method]
    wrong = replace(FASHION, mean=0.5, std=0.5)
    classes = range(10) if thorough else (0, 1, 8)
    baseline = made("baseline", data.recipe(chosen))
    tensors = [row.tensor for row in baseline.scales.rows if row.role != "weight"] if baseline.scales else []
    planted = {
        "a, wrong mean and std": data.recipe(
            chosen, calibration=data.part(0, preprocess=wrong), evaluation=data.scored(wrong)
        ),
        "a, wrong mean and std when scoring alone": data.recipe(chosen, evaluation=data.scored(wrong)),
        **{
            f"c, scale × 4 of «{tensor}»": data.recipe(chosen, edited=quadrupled(tensor))
            for tensor in tensors[:: 6 if thorough else 12]
        },
        **{
            f"d, calibrated on class {label}": data.recipe(chosen, calibration=data.one_class(label))
            for label in classes
        },
    }
    harmless = {
        "e, unchanged": data.recipe(chosen),
        "batches of 7": data.recipe(chosen, calibration=data.part(0, batch=7), evaluation=data.scored(batch=7)),
        "two threads": data.recipe(chosen, threads=2),
        **{f"calibration set {number}": data.recipe(chosen, calibration=data.part(number)) for number in range(1, 5)},
    }
    runs = {name: made(name, recipe) for name, recipe in (planted | harmless).items()}
    return {name: regress(baseline, run, POLICY) for name, run in runs.items()}, baseline


def lite0_regressions() -> dict[str, Regression]:
    """Return what is planted in EfficientNet-Lite0: BGR, and halves of the calibration images."""
    folder = reference()
    root = folder / "data" / "imagenet-sample"
    paths = sorted((root / "calib").iterdir())
    paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    swapped = replace(sample.PREPROCESS, color="BGR")

    def some(chosen: list[Path], name: str, preprocess: Preprocess = sample.PREPROCESS) -> Callable[[], Dataset]:
        return lambda: images(chosen, preprocess=preprocess, batch=16, label_pattern=r"^(\d{4})_", name=name)

    scored = sorted((root / "eval").iterdir())
    recipe = Recipe(
        sample.network(folder), some(paths[:256], "half"), some(scored, "eval"), METHODS["percentile:99.999"]
    )
    other = replace(recipe, calibration=some(paths[256:], "other half"))
    bgr = replace(recipe, calibration=some(paths[:256], "half", swapped), evaluation=some(scored, "eval", swapped))
    baseline = made("baseline", recipe)
    policy = Policy(slices=())
    changed = {"b, BGR": bgr, "e, unchanged": recipe, "the other half calibrates": other}
    return {name: regress(baseline, made(name, changed[name]), policy) for name in changed}


def exchanged(one: SampleTable, two: SampleTable, draw: np.random.Generator) -> tuple[SampleTable, SampleTable]:
    """Return both networks' samples drawn anew, each sample's answers exchanged or not at random."""
    count = len(one)
    rows, swap = draw.integers(0, count, count), draw.random(count) < 0.5
    right = [table.values["top-1"].int8[rows] for table in (one, two)]
    labels = one.labels[rows] if one.labels is not None else None
    return (
        answered(np.where(swap, right[1], right[0]), labels, draw),
        answered(np.where(swap, right[0], right[1]), labels, draw),
    )


def answered(right: Any, labels: I64 | None, draw: np.random.Generator) -> SampleTable:
    """Return a table of right and wrong answers."""
    count = len(right)
    keys = tuple(f"{number:016x}" for number in range(count))
    values = {"top-1": PairedValues(right, right)}
    return SampleTable(
        np.ones(count), draw.random(count), keys, labels=labels, values=values, metrics={"top-1": MetricKind("top-1")}
    )


def with_loss(table: SampleTable, points: float, draw: np.random.Generator) -> SampleTable:
    """Return the table with so many points of all samples wrong that were right, on average."""
    right = table.values["top-1"].int8
    lost = draw.random(len(right)) < points / 100 / right.mean()
    return answered(np.where(lost, 0.0, right), table.labels, draw)


def alarms(baseline: Run, candidate: Run, policy: Policy, *, seed: int, points: float = 0.0) -> int:
    """Return how often the gate fails of so many resamples under the null hypothesis, or of a loss of so many points."""
    draw = np.random.default_rng(seed)
    pair = [run.comparison.samples_table for run in (baseline, candidate)]
    one, two = [table for table in pair if table is not None]
    found = 0
    for _ in range(RESAMPLES):
        ours, theirs = exchanged(one, two, draw)
        theirs = with_loss(theirs, points, draw) if points else theirs
        runs = [Run("drawn", run.comparison, table) for run, table in ((baseline, ours), (candidate, theirs))]
        found += regress(runs[0], runs[1], policy).verdict == "fail"
    return found


def level_figures(baseline: Run, candidate: Run) -> Figures:
    """Return alarm rates under the null hypothesis beside the band of the stated level, and how often 2 points are caught."""
    plain = regress(baseline, candidate, POLICY)
    figures: Figures = {
        "null hypothesis: samples that one of both networks gets right": (_discordant(plain), f"of {plain.samples}")
    }
    policies = {
        "top-1": Policy(output_noise_db=None),
        "top-1 and every class": Policy(slices=(SliceLimit(LABEL),), output_noise_db=None),
    }
    for name, policy in policies.items():
        found = [alarms(baseline, candidate, policy, seed=seed) for seed in range(DRAWS)]
        for what, count, times in (
            ("first draw", found[0], RESAMPLES),
            ("all ten draws", sum(found), DRAWS * RESAMPLES),
        ):
            low, high = (int(binom.ppf(end, times, policy.alpha)) for end in (0.025, 0.975))
            figures[f"{name}: alarms under the null hypothesis, {what}"] = (
                count,
                f"of {times} resamples; binomial 95 % band {low} … {high}",
            )
        figures[f"{name}: alarms under the null hypothesis, each draw"] = (
            ", ".join(map(str, found)),
            f"of {RESAMPLES}",
        )
        caught = alarms(baseline, candidate, policy, seed=0, points=2.0)
        figures[f"{name}: 2 points lost are caught"] = (caught, f"of {RESAMPLES} resamples")
    return figures


def main() -> None:
    figures: Figures = {}
    baselines: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            found, baselines[method] = fashion_regressions(method, Path(folder), thorough=not baselines)
            figures |= {f"FashionNet, {method}: {name}": _figure(result) for name, result in found.items()}
    figures |= {f"EfficientNet-Lite0: {name}": _figure(result) for name, result in lite0_regressions().items()}
    figures |= level_figures(baselines["percentile:99.999"], baselines["minmax"])
    write_figures("regression", "python -m tests.benchmarks.regression", figures)


def _discordant(found: Regression) -> int:
    return sum(part.worse + part.better for part in found.slices)


def _figure(found: Regression) -> tuple[str, str]:
    reasons = ", ".join(check.name for check in found.checks if check.state != "pass")
    return found.verdict, reasons


if __name__ == "__main__":
    main()
