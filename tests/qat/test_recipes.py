"""The road from a module to INT8, for the families that people start with; and the page that describes it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import quantlab as ql
from quantlab.graph.lint import lint_qdq
from quantlab.graph.target import Target

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from tests.cli.workplace import quantlab  # noqa: E402
from tests.qat.families import FAMILIES, family, images  # noqa: E402

PAGE = Path(__file__).parents[2] / "notebooks" / "from_pytorch" / "README.md"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_goes_from_the_module_to_int8(name: str) -> None:
    net = family(name)
    model = ql.export(net, images(2, seed=9))
    kinds = {node.op_type for node in model.proto.graph.node}
    assert "BatchNormalization" not in kinds
    with ql.engines.ort(model, expose="quantizable", threads=1) as engine:
        histograms = ql.collect(engine, [{"x": images(64, seed=10).numpy()}])
    table = ql.calibrate(histograms, ql.SquaredError())
    built = ql.quantize(model, table, options=ql.QuantizeOptions(target="tensorrt@8.6"))
    weighted = [part for part in net.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(built.weights) == len(weighted) - 1  # the head stays float
    assert not [
        finding for finding in lint_qdq(built.model, Target.parse("tensorrt@8.6")) if finding.severity != "note"
    ]
    with ql.engines.ort(model, threads=1) as fp32, ql.engines.simulation(built.model, threads=1) as int8:
        found = ql.compare(fp32, int8, [{"x": images(64, seed=11).numpy()}], metrics=())
    assert found.agreement is not None
    assert found.agreement.score >= 0.85
    assert found.outputs[0].sqnr_db > 20


@pytest.mark.parametrize("name", ["ResNet, basic blocks", "EfficientNet"])
def test_both_exporters_make_the_same_int8_network_of_a_family(name: str) -> None:
    net, found = family(name), []
    for exporter in ("torchscript", "dynamo"):
        options = ql.ExportOptions(exporter=exporter)
        model = ql.export(net, images(2, seed=9), options=options)
        with ql.engines.ort(model, expose="quantizable", threads=1) as engine:
            table = ql.calibrate(ql.collect(engine, [{"x": images(32, seed=10).numpy()}]), ql.MinMax())
        built = ql.quantize(model, table)
        found.append((len(built.quantized), sorted(round(row.scale[0], 6) for row in table.rows)))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_prepared_trained_and_exported_with_names_and_places_of_ptq(name: str) -> None:
    net, example = family(name), images(2, seed=9)
    model = ql.export(net, example)
    with ql.engines.ort(model, expose="quantizable", threads=1) as engine:
        table = ql.calibrate(ql.collect(engine, [{"x": images(64, seed=10).numpy()}]), ql.SquaredError())
    ptq = ql.quantize(model, table, options=ql.QuantizeOptions(target="tensorrt@8.6"))
    prepared = ql.qat.prepare(net, example, table, options=ql.qat.PrepareOptions(target="tensorrt@8.6"))
    assert not prepared.unmatched
    before = {key: value.clone() for key, value in prepared.module.state_dict().items()}
    options = ql.qat.TrainOptions(
        steps=3, batch=32, schedule=ql.qat.Schedule(rate=1e-4), distillation=ql.qat.Distillation(labels=0.0)
    )
    ql.qat.train(prepared, [images(96, seed=12)], options=options)
    assert any(not torch.equal(value, before[key]) for key, value in prepared.module.state_dict().items())
    exported = ql.qat.export(prepared)
    assert exported.quantized.quantized == ptq.quantized
    assert [row.tensor for row in exported.quantized.weights] == [row.tensor for row in ptq.weights]
    found = lint_qdq(exported.quantized.model, Target.parse("tensorrt@8.6"))
    assert not [finding for finding in found if finding.severity != "note"]
    equality = ql.qat.evaluate_equality(prepared, exported, [images(64, seed=11)])
    assert equality.agreement == 1.0
    assert equality.largest < 0.02 * equality.magnitude


def test_the_page_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that begin with a file's name are written to it, commands are run, all other Python is executed."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "page"}
    for language, block in re.findall(r"```(python|yaml|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        named = re.match(r"# (\w+\.\w+)\n", block)
        if named:
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
        elif language == "python":
            exec(compile(block, str(PAGE), "exec"), scope)
        else:
            ended = quantlab(*shlex.split(block)[1:])
            assert ended.code in (0, 1, 3), ended.err
            assert "QAT" in ended.out
    assert (tmp_path / "net.int8.onnx").stat().st_size > 1000
    assert (tmp_path / "net.qat.onnx").stat().st_size > 1000
    rungs = json.loads((tmp_path / "run/qat/report.json").read_text())["rungs"]
    assert rungs[0]["rung"] == "PTQ"
    assert rungs[-1]["rung"] == "QAT"
    assert all((tmp_path / "run/qat" / rung["model"]).is_file() for rung in rungs)
