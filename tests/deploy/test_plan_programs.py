"""What a bundle's own programs are told: names of strangers, wrong usage, changed files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from quantlab.deploy.embedded import write_embedded
from quantlab.deploy.verify import verify
from quantlab.errors import InputError, StaleError
from quantlab.jobs.deployed_parts import Sources, embedded_parts
from tests.deploy.test_embedded import INT8, made, parts

ODD = "image\x1b]0;owned\x07\n\u202e,'`touch owned`$(touch owned)"


def odd_model(place: Path) -> Path:
    """Return a run's Q/DQ model whose input is named to harm terminals and shells."""
    proto = onnx.load(place / "run" / "model.int8.onnx")
    for node in proto.graph.node:
        node.input[:] = [ODD if name == "image" else name for name in node.input]
    proto.graph.input[0].name = ODD
    onnx.save(proto, place / "odd.onnx")
    return place / "odd.onnx"


def test_names_of_strangers_harm_neither_terminals_nor_shells(place: Path) -> None:
    given = replace(embedded_parts(Sources(source=odd_model(place)), "11.0"), options=INT8)
    done, _ = write_embedded(place / "bundle", replace(given, name="net"))
    assert "make_plan.sh" not in done.files
    assert any("trtexec cannot be told the shapes" in note for note in done.bundle.notes)
    for name in ("README.txt", "make_plan.cpp", "make_plan.py", "bundle.json"):
        text = (done.folder / name).read_text(encoding="utf-8")
        assert not set(text) & set("\x1b\x07\u202e") or name == "bundle.json", name
    assert "\\x1b]0;owned" in (done.folder / "README.txt").read_text(encoding="utf-8")
    compiler = shutil.which("c++")
    if compiler is not None:
        settings = (done.folder / "make_plan.cpp").read_text(encoding="utf-8").split("written by quantlab.\n")[1]
        told = run_cpp(
            compiler,
            place,
            settings.split("#if CACHE_FORM")[0],
            "std::fputs(PROFILES.at(0).begin()->first.c_str(), stdout)",
        )
        assert told == ODD


def run_cpp(compiler: str, place: Path, settings: str, statement: str) -> str:
    heads = "".join(f"#include <{name}>\n" for name in ("cstdio", "map", "string", "vector"))
    (place / "told.cpp").write_text(f"{heads}{settings}\nint main() {{ {statement}; }}\n", encoding="utf-8")
    subprocess.run([compiler, "-std=c++14", str(place / "told.cpp"), "-o", str(place / "told")], check=True)
    return subprocess.run([str(place / "told")], capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workspace", "-1"), "takes a number of MiB"),
        (("--workspace", "9" * 30), "takes a number of MiB"),
        (("-o", "missing/model.plan"), "the folder of --output missing/model.plan is missing"),
        (("more",), "unrecognized arguments"),
    ],
)
def test_make_plan_used_wrongly_says_so_before_it_builds(place: Path, words: tuple[str, ...], said: str) -> None:
    done, _ = write_embedded(place / "bundle", parts(place))
    ended = made(done.folder, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_every_file_of_a_bundle_is_checked_to_the_byte(place: Path) -> None:
    done, _ = write_embedded(place / "bundle", parts(place))
    for name in (*done.files, "SHA256SUMS"):
        whole = (done.folder / name).read_bytes()
        (done.folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises((StaleError, InputError)):
            verify(done.folder)
        if name not in ("SHA256SUMS", "make_plan.py"):
            assert made(done.folder).returncode == 5
        (done.folder / name).unlink()
        with pytest.raises(InputError):
            verify(done.folder)
        (done.folder / name).write_bytes(whole)
    verify(done.folder)
