"""policy.yaml: what it may say, and the sentence with the line where it says something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantlab.errors import InputError
from quantlab.jobs.policy_file import policy_schema, read_policy
from quantlab.regression.policy import DropLimit, Limit, Policy, SliceLimit

WHOLE = """
alpha: 0.01
power: 0.9
metrics:
  top-1: 0.5
  top-5: {maximum: 1, resolution: 2, level: warn}
fp32: {top-1: 1}
slices:
  - by: label
    least: 20
    maximum: 3
  - by: brand
    file: brands.csv
    level: warn
  - by: country
    file: brands.csv
agreement: 0.97
coverage: {value: 0.9, level: warn}
coverage_macs: 0.8
latency: 1.1
size: {value: 1.05}
scale: null
drift: warn
output_noise_db: 1
"""
BRANDS = "name,brand,country\na.png,x,\nb.png,y,DE\n0123456789abcdef,x,FR\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "brands.csv").write_text(BRANDS)
    return tmp_path / "policy.yaml"


def test_every_key_becomes_a_value(policy: Path) -> None:
    policy.write_text(WHOLE)
    assert read_policy(policy) == Policy(
        alpha=0.01,
        power=0.9,
        metrics={"top-1": DropLimit(0.5), "top-5": DropLimit(1, 2, "warn")},
        fp32={"top-1": DropLimit(1)},
        slices=(
            SliceLimit(maximum=3, least=20),
            SliceLimit("brand", {"a.png": "x", "b.png": "y", "0123456789abcdef": "x"}, level="warn"),
            SliceLimit("country", {"b.png": "DE", "0123456789abcdef": "FR"}),
        ),
        agreement=Limit(0.97),
        coverage=Limit(0.9, "warn"),
        coverage_macs=Limit(0.8),
        latency=Limit(1.1),
        size=Limit(1.05),
        scale=None,
        drift="warn",
        output_noise_db=Limit(1),
    )


def test_what_is_not_named_keeps_its_default(policy: Path) -> None:
    policy.write_text("{}")
    assert read_policy(policy) == Policy()
    policy.write_text("alpha: 0.1")
    assert read_policy(policy) == Policy(alpha=0.1)


def test_the_schema_names_every_key_of_a_policy_and_no_other() -> None:
    schema = policy_schema()
    assert set(schema["properties"]) == set(Policy.__dataclass_fields__)
    assert schema["additionalProperties"] is False
    assert all("description" in field for field in schema["properties"].values())
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n\nalfa: 1", "line 3, `alfa`: there is no such key"),
        ("alpha: 2", "line 1, `alpha`: input should be less than or equal to 0.5 (it is 2)"),
        ("alpha: yes", "`alpha`: input should be a valid number (it is True)"),
        ("metrics:\n  top-1: {maximun: 1}", "line 2, `metrics.top-1.maximun`: there is no such key"),
        (
            "metrics:\n  top-1:\n    maximum: -1",
            "line 3, `metrics.top-1.maximum`: input should be greater than or equal to 0",
        ),
        ("metrics:\n  top-1: much", "line 2, `metrics.top-1`: a number or a mapping is expected (it is 'much')"),
        ("metrics: {top-1: .nan}", "`metrics.top-1.maximum`: input should be a finite number"),
        ("metrics: {top-1: {maximum: 0, resolution: 0}}", "line 1, `metrics.top-1`: No samples can show"),
        ("metrics: [top-1]", "`metrics`: a mapping is expected"),
        ("latency: {level: warn}", "line 1, `latency.value`: it is missing"),
        ("scale: 0.5", "line 1, `scale.value`: input should be greater than or equal to 1"),
        ("agreement: 97", "line 1, `agreement.value`: input should be less than or equal to 1 (it is 97)"),
        ("drift: no", "`drift`: input should be 'warn' or 'fail' (it is False)"),
        ("slices: {by: label}", "`slices`: input should be a valid list"),
        ("slices:\n  - by: label\n  - by: brand", "line 3, `slices.1`: Slices by «brand» need `file`"),
        ("slices:\n  - file: brands.csv", "line 2, `slices.0`: Slices by «label» are the labels of the samples"),
        ("slices:\n  - {by: b, file: gone.csv}", "line 2, `slices.0`: There is no file"),
        ("slices: [{by: label}, {by: label}]", "names each slicing once"),
        ("a: 1\nb: 2\nc: 3\nd: 4", "and 1 more."),
        ("a: &x 1\nb: *x", "aliases are not read"),
        ("alpha: 1\nalpha: 2", "occurs twice"),
        ("- alpha", "must be a mapping"),
        ("", "must be a mapping"),
        ("{", "is no readable YAML"),
    ],
)
def test_what_means_nothing_is_said_with_file_line_and_key(policy: Path, text: str, words: str) -> None:
    policy.write_text(text)
    with pytest.raises(InputError) as error:
        read_policy(policy)
    assert str(error.value).startswith(f"'{policy}'")
    assert words in str(error.value)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_policy(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a header with a column «sample»"),
        ("a,b\n1,2\n", "it has «a», «b»"),
        ("name,colour\na,b\n", "a column «slice»"),
        ("name,name,slice\n", "each once"),
        ("name,slice\na\n", "line 2: 2 cells are due"),
        ("name,slice\na,x\nb,y\na,z\n", "line 4: the sample «a» is in the slices «x» and «z»"),
        ("name,slice\na,\n", "puts no sample into a slice"),
        (f"name,slice\na,{'x' * 201}\n", "at most 200 characters"),
        ('name,slice\na,"x\n', "cannot be read as CSV"),
    ],
)
def test_slices_that_cannot_be_read_are_said_with_their_line(policy: Path, text: str, words: str) -> None:
    (policy.parent / "brands.csv").write_text(text)
    policy.write_text("slices: [{by: brand, file: brands.csv}]")
    with pytest.raises(InputError) as error:
        read_policy(policy)
    assert words in str(error.value)


def test_a_column_may_be_named_and_a_byte_order_mark_is_no_part_of_it(policy: Path) -> None:
    (policy.parent / "brands.csv").write_text("sample,slice,make\r\n a ,1,x\r\n\r\n", encoding="utf-8-sig")
    policy.write_text("slices: [{by: brand, file: brands.csv, column: make}]")
    assert read_policy(policy).slices[0].members == {"a": "x"}
    policy.write_text("slices: [{by: brand, file: brands.csv}]")
    assert read_policy(policy).slices[0].members == {"a": "1"}
