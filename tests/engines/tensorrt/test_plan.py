"""A plan and its card go to files and back, and nobody else's plan is run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.calibration.provenance import DataIdentity
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.loaded import check_fits
from quantlab.engines.tensorrt.plan import (
    Plan,
    card_path,
    check_layers,
    digest_of,
    layers_path,
    read_plan,
    write_plan,
)
from quantlab.errors import InputError, StaleError

DATA = b"a serialized engine"
LAYERS = '{"Layers": ["é"]}'
CARD = PlanCard(
    library="tensorrt",
    version="8.6.1",
    device="NVIDIA H200",
    compute_capability="9.0",
    version_compatible=False,
    hardware_compatible=False,
    precision=("fp32", "int8"),
    scales="cache EntropyCalibration2",
    scales_digest="sha256:12",
    model="sha256:34",
    model_name="net.onnx",
    digest=digest_of(DATA),
    layers_digest=digest_of(LAYERS.encode()),
    size=len(DATA),
    build_seconds=1.5,
    device_memory=None,
    stripped=False,
    plugins=("libhswish.so",),
    chosen_on=(DataIdentity("calibration", "blake2b:56", 2, {"scale": 1}, sketch=("0" * 16, "f" * 16)),),
    profiles=({"input": ((1, 3), (8, 3), (32, 3))},),
    notes=("a warning",),
)


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan(DATA, CARD, LAYERS)
    write_plan(tmp_path / "m.plan", plan)
    assert read_plan(tmp_path / "m.plan") == plan


def test_a_plan_without_layers_leaves_no_old_ones_behind(tmp_path: Path) -> None:
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD, "{}"))
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD))
    assert not layers_path(tmp_path / "m.plan").exists()


def test_the_report_of_another_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    write_plan(path, Plan(DATA, CARD, LAYERS))
    layers_path(path).write_text('{"Layers": []}')
    with pytest.raises(StaleError, match=r"m\.plan\.layers\.json' is not what TensorRT's engine inspector said"):
        read_plan(path)
    with pytest.raises(StaleError, match="is not what"):
        check_layers(path, layers_path(path), '{"Layers": []}')
    check_layers(path, layers_path(path), LAYERS)
    path.write_bytes(DATA + b"!")
    with pytest.raises(StaleError, match="is not the plan that"):
        check_layers(path, layers_path(path), LAYERS)
    check_layers(tmp_path / "trtexec.plan", layers_path(path), "{}")


def test_a_plan_without_its_weights_is_not_opened() -> None:
    with pytest.raises(InputError, match=r"«net\.onnx» was built without its weights .* refitting"):
        TrtEngine(Plan(DATA, replace(CARD, stripped=True)))


def test_a_plan_without_a_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.plan").write_bytes(DATA)
    with pytest.raises(InputError, match=r"has no card 'm\.plan\.json' beside it"):
        read_plan(tmp_path / "m.plan")


def test_another_plan_under_the_same_name_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD))
    (tmp_path / "m.plan").write_bytes(DATA + b"!")
    with pytest.raises(StaleError, match="is not the plan that"):
        read_plan(tmp_path / "m.plan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, "no plan card"),
        ({"schema_version": 1}, "version 1; this quantlab reads 2"),
        ({"library": 3}, "library is 3, not text"),
        ({"size": "many"}, "damaged"),
        ({"profiles": 7}, "damaged"),
        ({"profiles": [{"input": [["x"]]}]}, "damaged"),
        ({"profiles": [{"input": [[1], [2]]}]}, "damaged"),
        ({"size": float("inf")}, "damaged"),
        ({"library": "jax"}, "library is jax, neither tensorrt nor tensorrt_rtx"),
        ({"version_compatible": "no"}, 'version_compatible is "no", not true or false'),
        ({"stripped": 1}, "stripped is 1, not true or false"),
        ({"layers_digest": None}, "layers_digest is null, not text"),
        ({"surplus": 1}, "fields differ from a plan card's: surplus"),
        ({"chosen_on": [{"name": 1}]}, "data identity"),
    ],
)
def test_a_damaged_card_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD))
    path = card_path(tmp_path / "m.plan")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_plan(tmp_path / "m.plan")


@pytest.mark.parametrize("field", ["layers_digest", "stripped"])
def test_a_card_that_lacks_a_field_is_refused(tmp_path: Path, field: str) -> None:
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD))
    path = card_path(tmp_path / "m.plan")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != field}))
    with pytest.raises(InputError, match=f"fields differ from a plan card's: {field}"):
        read_plan(tmp_path / "m.plan")


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path / "m.plan", Plan(DATA, CARD))
    card_path(tmp_path / "m.plan").write_text("[" * 100_000)
    with pytest.raises(
        InputError, match=r"m\.plan\.json' is no card of a plan: it cannot be read: .* Build the plan again"
    ):
        read_plan(tmp_path / "m.plan")


def test_a_plan_of_another_version_is_refused() -> None:
    with pytest.raises(StaleError, match=r"built by tensorrt 8\.6\.1, and here is 10\.3\.0"):
        check_fits(CARD, "10.3.0", "NVIDIA H200", "9.0")


def test_a_plan_of_another_gpu_is_refused() -> None:
    with pytest.raises(StaleError, match=r"built for NVIDIA H200 .* and here is NVIDIA A100"):
        check_fits(CARD, "8.6.1", "NVIDIA A100", "8.0")


def test_a_compatible_plan_runs_elsewhere() -> None:
    anywhere = replace(CARD, version_compatible=True, hardware_compatible=True)
    check_fits(anywhere, "10.3.0", "NVIDIA A100", "8.0")


def test_a_version_compatible_plan_runs_on_later_versions_alone() -> None:
    later = replace(CARD, version_compatible=True)
    check_fits(later, "8.6.1", "NVIDIA H200", "9.0")
    with pytest.raises(StaleError, match=r"built by tensorrt 8\.6\.1, and here is 8\.5\.3: .* later ones"):
        check_fits(later, "8.5.3", "NVIDIA H200", "9.0")
