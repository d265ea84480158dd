"""What was measured on a GPU is whole: every engine's logits are there, by digest, and can be read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from tests.gpu.logits import REFERENCE, read_logits

GPU = Path(__file__).parents[1] / "reports" / "gpu"
FOUND = json.loads((GPU / "lite0.json").read_text(encoding="utf-8"))


def test_every_engines_logits_are_kept_once() -> None:
    kept = {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in GPU.glob("lite0.*.logits.npz")}
    assert {engine["logits"] for engine in FOUND["engines"].values()} <= kept
    assert sum(path.stat().st_size for path in GPU.iterdir()) <= 12_000_000


def test_a_cache_and_its_dynamic_ranges_gave_the_same_logits_to_the_bit() -> None:
    engines = FOUND["engines"]
    assert engines["cache"]["logits"] == engines["ranges"]["logits"] == engines["cache_fp16"]["logits"]


def test_the_logits_say_what_the_table_says() -> None:
    images, reference = read_logits(GPU, "lite0", REFERENCE)
    _, chosen = read_logits(GPU, "lite0", "qdq_chosen")
    (row,) = (row for row in FOUND["tables"]["all"] if row["name"] == "qdq_chosen")
    assert len(images) == row["samples"] == 756
    same = np.mean(reference["logits"].argmax(1) == chosen["logits"].argmax(1))
    assert abs(same - row["agreement"]) < 1e-9


def test_every_plan_names_its_gpu_and_version() -> None:
    for engine in FOUND["engines"].values():
        assert engine["card"]["device"] == "NVIDIA H200"
        assert engine["card"]["version"].startswith("8.6")


def test_every_figure_is_listed_with_the_command_that_made_it() -> None:
    figures = GPU.parent / "figures"
    listed = (GPU.parent / "README.md").read_text(encoding="utf-8")
    for path in figures.glob("*.json"):
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
        assert f"| `{path.name}` | `{command}` |" in listed


def test_two_gpus_collect_what_readme_says() -> None:
    found = json.loads((GPU / "scaling.json").read_text(encoding="utf-8"))
    one, two = (found["ways"][f"ray, {count}"]["images_per_second"] for count in (1, 2))
    commands = (GPU.parents[1] / "notebooks" / "commands.md").read_text(encoding="utf-8")
    assert f"Two H200s collect {two:,.0f} images a second, one {one:,.0f}" in commands
    assert found["same_histograms"]


def test_a_bundles_plans_give_the_outputs_of_quantlabs_own() -> None:
    plans = json.loads((GPU / "deploy.json").read_text(encoding="utf-8"))["plans"]
    assert set(plans) == {"quantlab_build", "make_plan_py", "make_plan_cpp"}
    assert all(plan["against_quantlab_build"]["same_bits"] for plan in plans.values())
