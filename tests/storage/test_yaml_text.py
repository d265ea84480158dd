"""YAML from strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantlab.errors import InputError
from quantlab.storage.yaml_text import LARGEST, parse_yaml, read_yaml


def test_plain_values_are_read() -> None:
    assert parse_yaml("a: 1\nb: [x, 2.5, null, true]\n", "job") == {"a": 1, "b": ["x", 2.5, None, True]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1.*«a» occurs twice"),
        ("a: {b: 1, b: 2}", "«b» occurs twice"),
        ("a: &x [1]\nb: *x\n", "line 2, column 4.*aliases are not read"),
        ("a: [1, 2", "no readable YAML"),
        ("a: !!python/object/apply:os.system ['true']", "tags such as"),
        ("a: \t- b", "no readable YAML"),
        ("[" * 5000, "no readable YAML"),
        ("? [a]\n: 1", "no readable YAML"),
        ("a: \x00", "no readable YAML"),
    ],
)
def test_bad_yaml_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_yaml(text, "job.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("job.yaml")


def test_a_missing_large_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_yaml(tmp_path / "job.yaml")
    large = tmp_path / "large.yaml"
    large.write_text("a" * (LARGEST + 1))
    with pytest.raises(InputError, match="large"):
        read_yaml(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="binary"):
        read_yaml(binary)
    with pytest.raises(InputError, match="is a folder"):
        read_yaml(tmp_path)
