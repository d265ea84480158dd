"""What a notebook shows of every value: something, short, and never a name as markup."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.numerics.markup import card, cell, table
from tests.networks import image_batch
from tests.plots.hostile import EVIL, NAMES, evil, network, values
from tests.report.html_tree import parse

SETTINGS = {
    "Affine", "BuildOptions", "CollectOptions", "CompareOptions", "DiagnoseOptions", "DropLimit", "Entropy", "ExportOptions", "Fixed",
    "FromCache", "FromRanges", "Limit", "LinearGrid", "MaxAbs", "MinMax", "NativeCalibration", "Percentile", "Policy", "Profile",
    "QuantizeOptions", "Range", "Rule", "SliceLimit", "SquaredError", "SquaredErrorWeights", "Symmetric", "TensorRTEntropy2",
    "TensorRTGrid", "TensorRTLegacy", "TensorRTMinMax", "Thresholds", "TopK", "TuneOptions",
}  # fmt: skip
"""Settings and methods: Python's own repr says all of them in one line, and a notebook shows that as text."""

HANDLES = {"Road", "Run", "RunParts", "TensorProbe"}
"""Other values or open engines put together, to be given on: each shows itself."""

NAMELESS = {"ChannelRanges", "Histogram", "Target", "TensorRTHistogram"}
"""Values that hold no name."""

ELSEWHERE = {"Regression"}
"""Shown by a page of its own, whose tests hold it to the same."""

LONGEST = 40_000


def test_every_public_value_is_shown() -> None:
    public = {name for name in ql.__all__ if inspect.isclass(getattr(ql, name))}
    public = {name for name in public if not issubclass(getattr(ql, name), Exception)}
    assert public - SETTINGS - HANDLES - ELSEWHERE <= set(NAMES) == set(values())
    for name in sorted(public - SETTINGS - HANDLES):
        assert callable(getattr(getattr(ql, name), "_repr_html_", None)), name


def test_settings_are_values_whose_repr_names_them() -> None:
    for name in SETTINGS:
        kind = getattr(ql, name)
        assert is_dataclass(kind), name
        assert not hasattr(kind, "_repr_html_"), name


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_a_tag_is_shown_as_text(name: str) -> None:
    shown = values()[name]._repr_html_()
    page = parse(shown)
    assert not page.all("img")
    assert not page.all("script")
    assert page.text.strip()
    assert len(shown) < LONGEST
    if name not in NAMELESS:
        assert EVIL in page.text


def test_arrays_and_images_are_shown(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "<b>pictures"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    np.savez(tmp_path / "<b>.npz", **{EVIL: image_batch(3)})  # type: ignore[arg-type]
    shown = (
        ql.data.images(folder, preprocess=ql.data.Preprocess()),
        ql.data.arrays(tmp_path / "<b>.npz"),
    )
    for data in shown:
        page = parse(data._repr_html_())
        assert not page.all("img")
        assert "<b>" in page.text


def test_a_module_that_is_trained_is_shown() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")
    from torch import nn

    from quantlab.qat.prepared import Prepared
    from quantlab.qat.trained import Moment, Trained

    found = Trained(nn.ReLU(), (Moment(4, 0, 0.5, 0.1, None),), 4, "steps", None, 1.0, None)
    page = parse(found._repr_html_())
    assert page.all("td")[0].text == "4"
    assert callable(Prepared._repr_html_)


def test_a_frame_is_cut_and_says_so() -> None:
    page = parse(table(("n",), ((i,) for i in range(1000)), most=3))
    assert [row.text for row in page.one("tbody").all("tr")] == ["0", "1", "2"]
    assert "997 more of 1,000 rows" in page.text


def test_facts_that_are_not_known_are_left_out() -> None:
    page = parse(card("Thing", {"a": None, "b": "", "c": 0, "<d>": "<e>"}, name="<n>"))
    assert page.text == "Thing of «<n>»: c: 0, <d>: <e>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (np.float64(1.23456), "1.235"),
        (np.int64(12345), "12,345"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (float("inf"), "inf"),
        ("x", "x"),
    ],
)
def test_a_cell_is_what_people_read(value: object, text: str) -> None:
    assert cell(value) == text


def test_the_names_of_the_network_are_tags() -> None:
    assert all(node.name.startswith(EVIL) for node in network().proto.graph.node)
    assert evil("image") in {value.name for value in network().proto.graph.input}
