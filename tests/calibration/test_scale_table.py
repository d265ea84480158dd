"""The scale table: rows that cannot be wrong, a mapping in order, and updates that return new tables."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.provenance import Provenance
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams

ROWS = (
    Scale("input", (0.5,), method="MinMax()", observed=Range(-1.0, 60.0), chosen=Range(-60.0, 60.0), clipped=0.25),
    Scale("/conv/Relu:0", (0.25,), (128,), "uint8", "affine", chosen=Range(-1.0, 1.0), observed=Range(-2.0, 1.0)),
    Scale("conv.weight", (0.5, 1.0), (0, 0), axis=0, role="weight", shape=(2, 3)),
    Scale("<b>old</b>", (1.0,), role="unknown"),
)
TABLE = ScaleTable(ROWS, Provenance("sha256:1", "net.onnx", (), {}, "log-linear"), "TRT-8601-EntropyCalibration2")
positive = st.floats(float(np.float32(1e-38)), float(np.float32(1e38)), width=32)


@given(st.lists(positive, min_size=1, max_size=5), st.booleans())
def test_params_survive_the_way_through_a_row(scales: list[float], per_channel: bool) -> None:
    axis = 1 if per_channel else None
    values = np.array(scales if per_channel else scales[0], np.float32)
    params = QuantParams(values, np.zeros(values.shape, np.int64), "int8", axis)
    again = Scale.of("x", params, shape=(3, len(scales)) if per_channel else None).params
    assert again.scale.dtype == np.float32
    assert (again.scale.shape, again.dtype, again.axis) == (values.shape, "int8", axis)
    assert np.array_equal(again.scale, params.scale)
    assert np.array_equal(again.zero_point, params.zero_point)


@given(positive)
def test_amax_is_127_steps(scale: float) -> None:
    assert Scale("x", (scale,)).amax == 127 * scale
    assert Scale("w", (scale / 2, scale), (0, 0), axis=0).amax == 127 * scale


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tensor": ""}, "has no tensor name"),
        ({"scale": ()}, "has 0 scales and 1 zero points"),
        ({"scale": (), "zero_point": ()}, "has 0 scales and 0 zero points"),
        ({"scale": (1.0, 2.0), "zero_point": (0, 0)}, "without an axis one of each is due"),
        ({"scale": (1.0, 2.0), "axis": 0}, "has 2 scales and 1 zero points"),
        ({"scale": (0.0,)}, "has the scale 0.0; a scale must be finite and > 0"),
        ({"scale": (-1.0,)}, "has the scale -1.0"),
        ({"scale": (float("nan"),)}, "has the scale nan"),
        ({"scale": (float("inf"),)}, "has the scale inf"),
        ({"scale": (1.0, 0.0), "zero_point": (0, 0), "axis": 0}, "has the scale 0.0"),
        ({"scale": (0.1,)}, "has the scale 0.1, which is no float32"),
        ({"scale": (1e39,)}, "which is no float32"),
        ({"dtype": "int4"}, "dtype «int4»"),
        ({"scheme": "log"}, "scheme «log»"),
        ({"zero_point": (128,)}, r"outside int8's \[-128, 127\]"),
        ({"zero_point": (-1,), "dtype": "uint8"}, r"outside uint8's \[0, 255\]"),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_name(change: dict[str, Any], sentence: str) -> None:
    good: dict[str, Any] = {"tensor": "conv1", "scale": (1.0,)}
    with pytest.raises(InputError, match=sentence) as caught:
        Scale(**good | change)
    assert change.get("tensor") == "" or "«conv1»" in str(caught.value)


def test_a_symmetric_int8_row_with_a_zero_point_is_refused() -> None:
    with pytest.raises(InputError, match="«x»"):
        Scale("x", (1.0,), (3,))


def test_a_role_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="activations"):
        Scale("x", (1.0,), role="activations")  # type: ignore[arg-type]


@pytest.mark.parametrize(("axis", "shape"), [(0, (3, 2)), (1, (2, 3)), (2, (2, 2)), (0, ())])
def test_a_scale_a_channel_must_fit_the_shape(axis: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="«w»"):
        Scale("w", (1.0, 2.0), (0, 0), axis=axis, role="weight", shape=shape)


def test_a_table_is_a_mapping_in_the_order_of_its_rows() -> None:
    assert list(TABLE) == [row.tensor for row in ROWS]
    assert tuple(TABLE.values()) == ROWS
    assert len(TABLE) == 4
    assert TABLE["conv.weight"] is ROWS[2]
    assert "input" in TABLE
    assert "nothing" not in TABLE
    assert TABLE.get("nothing") is None
    with pytest.raises(KeyError, match="nothing"):
        TABLE["nothing"]


def test_a_tensor_with_two_rows_is_refused() -> None:
    with pytest.raises(InputError, match="«input» has two rows"):
        ScaleTable((ROWS[0], ROWS[1], ROWS[0]))


def test_equal_rows_make_equal_tables_and_the_order_counts() -> None:
    assert ScaleTable(ROWS) == ScaleTable(tuple(replace(row) for row in ROWS))
    assert ScaleTable(ROWS) != ScaleTable(ROWS[::-1])
    assert ScaleTable(ROWS) != TABLE


def test_rows_replace_those_of_the_same_tensor_in_place_and_new_ones_follow() -> None:
    table = TABLE.with_rows([Scale("new", (2.0,)), Scale("input", (4.0,))])
    assert list(table) == [*TABLE, "new"]
    assert table["input"].scale == (4.0,)
    assert TABLE["input"].scale == (0.5,)
    assert (table.provenance, table.cache_header) == (TABLE.provenance, TABLE.cache_header)
    assert TABLE.with_rows([]) == TABLE


def test_rows_that_name_a_tensor_twice_are_refused() -> None:
    with pytest.raises(InputError, match="«input» has two rows"):
        TABLE.with_rows([Scale("input", (4.0,)), Scale("input", (2.0,))])


def test_tensors_are_left_out_by_name_or_pattern() -> None:
    assert list(TABLE.without("input", "*old*")) == ["/conv/Relu:0", "conv.weight"]
    assert TABLE.without() == TABLE


@pytest.mark.parametrize("pattern", ["nothing", "INPUT", ""])
def test_a_pattern_that_matches_nothing_is_refused_with_the_names(pattern: str) -> None:
    with pytest.raises(InputError, match=f"No tensor of the scale table matches «{pattern}»; it has «input», «/conv"):
        TABLE.without(pattern)
    with pytest.raises(InputError, match="matches"):
        TABLE.override(pattern, Range(0.0, 1.0))


def test_a_long_list_of_names_is_cut() -> None:
    table = ScaleTable(tuple(Scale(f"t{i}", (1.0,)) for i in range(10)))
    with pytest.raises(InputError, match="«t5» and 4 more"):
        table.without("x")


def test_an_override_keeps_scheme_and_observation_and_says_so() -> None:
    row = TABLE.override("/conv/*", Range(-0.55, 2.0), reason="clip")["/conv/Relu:0"]
    assert (row.chosen, row.method, row.scheme, row.dtype) == (Range(-0.55, 2.0), "clip", "affine", "uint8")
    assert (row.scale, row.zero_point) == ((float(np.float32(0.01)),), (55,))
    assert (row.observed, row.clipped, row.sqnr_db) == (ROWS[1].observed, None, None)
    assert TABLE["/conv/Relu:0"] == ROWS[1]


def test_an_override_of_everything_leaves_the_weights_alone() -> None:
    table = TABLE.override("*", Range(-1.0, 1.0))
    assert table["conv.weight"] == ROWS[2]
    assert table["input"].scale == (float(np.float32(1 / 127)),)


def test_whether_a_range_reaches_all_that_was_seen() -> None:
    assert [row.at_ceiling for row in ROWS] == [True, False, None, None]


def test_a_row_and_a_table_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ROWS[0].scale = (1.0,)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        TABLE.rows = ()  # type: ignore[misc]


def test_a_frame_has_a_line_a_tensor() -> None:
    frame = TABLE.frame()
    assert frame["tensor"].tolist() == list(TABLE)
    assert frame["scale"].tolist() == [0.5, 0.25, 1.0, 1.0]
    assert frame["channels"].tolist() == [1, 1, 2, 1]
    assert frame["zero_point"].tolist() == [0, 128, 0, 0]
    assert frame.loc[0, ["observed_low", "observed_high", "low", "high", "clipped"]].tolist() == [-1, 60, -60, 60, 0.25]
    assert ScaleTable(()).frame().empty
    assert ScaleTable(()).frame().columns.tolist() == frame.columns.tolist()


def test_a_notebook_shows_names_and_no_markup_of_theirs() -> None:
    assert "&lt;b&gt;old&lt;/b&gt;" in TABLE._repr_html_()
    assert "<b>old" not in TABLE._repr_html_()
