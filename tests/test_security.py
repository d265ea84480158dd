"""Models, caches, HDF5, YAML and images come from strangers: what they ask for beyond their content is refused."""

from __future__ import annotations

import ast
import functools
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from onnx import helper

import quantlab
from quantlab import engines
from quantlab.data import array_files, arrays
from quantlab.errors import InputError, MachineError
from quantlab.graph.model import load_model
from quantlab.jobs.job_file import read_job
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.sample_columns import read_sample_columns
from quantlab.storage.yaml_text import parse_yaml
from tests.cli.workplace import network

SOURCES = sorted(Path(quantlab.__file__).parent.rglob("*.py"))


@functools.cache
def nodes() -> tuple[tuple[Path, ast.AST], ...]:
    """Return what the package's files are made of."""
    trees = ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES)
    wanted = (ast.Call, ast.Import, ast.ImportFrom, ast.Attribute)
    return tuple((path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, wanted))


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """Yield the calls of functions and methods of this name in the package."""
    for path, node in nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
            yield path, node


def argument(call: ast.Call, name: str) -> object:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_nothing_is_unpickled() -> None:
    errors = {"pickle.PicklingError", "pickle.UnpicklingError"}
    for path, node in nodes():
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            assert {f"pickle.{name.name}" for name in node.names} <= errors, path
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert ast.unparse(node) in errors, path
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not any(word in ast.unparse(node) for word in ("marshal", "shelve", "joblib", "dill", "_pickle")), (
                path
            )


def test_arrays_and_weights_are_loaded_as_plain_values() -> None:
    loads = [(path.name, call) for path, call in calls("load") if ast.unparse(call.func) in ("np.load", "torch.load")]
    assert loads
    for name, call in loads:
        wanted = ("allow_pickle", False) if ast.unparse(call.func) == "np.load" else ("weights_only", True)
        assert argument(call, wanted[0]) is wanted[1], name


def test_yaml_is_read_by_one_loader_that_knows_no_tags() -> None:
    loads = {
        (path.name, ast.unparse(call)) for path, call in calls("load") if ast.unparse(call.func).startswith("yaml.")
    }
    assert loads == {("yaml_text.py", "yaml.load(text, _Loader)")}
    assert not [call for name in ("full_load", "unsafe_load", "load_all") for call in calls(name)]


def test_code_is_executed_only_from_a_file_that_a_user_names() -> None:
    assert {path.name for name in ("exec", "__import__", "spec_from_file_location") for path, _ in calls(name)} == {
        "python_file.py"
    }
    builtin = [path.name for path, call in calls("eval") if isinstance(call.func, ast.Name)]
    assert not builtin


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [id]",
        "a: !!python/name:os.system ",
        "!!binary aGk=",
        "!!set {a, b}",
        "!custom a",
        "!!map a",
        "? !!str a\n: b",
    ],
)
def test_tags_of_yaml_are_not_obeyed(text: str) -> None:
    with pytest.raises(InputError, match="tags such as"):
        parse_yaml(text, "The text")


def test_aliases_of_yaml_do_not_multiply() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    with pytest.raises(InputError, match="aliases are not read"):
        parse_yaml(bomb, "The text")


def test_yaml_that_nests_without_end_is_refused() -> None:
    for text in ("[" * 50_000, "{a: " * 50_000, "- " * 50_000):
        with pytest.raises(InputError, match="YAML"):
            parse_yaml(text, "The text")


@pytest.mark.parametrize(
    "change",
    [
        "budget: 10e99GiB",
        "data: {calibration: {path: a, batch: 1e9}}",
        "tensorrt_grid: -1",
        "custom_ops: evil.so",
        "workers: 1000000000",
    ],
)
def test_a_job_asks_for_nothing_that_jobs_do_not_have(tmp_path: Path, change: str) -> None:
    fields = {"model": "model.onnx", "output": "run", "data": "{calibration: a.npz}"}
    key, _, value = change.partition(": ")
    (tmp_path / "job.yaml").write_text("".join(f"{name}: {text}\n" for name, text in (fields | {key: value}).items()))
    with pytest.raises(InputError, match=key):
        read_job(tmp_path / "job.yaml")


def outside(location: str) -> onnx.ModelProto:
    proto = network()
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return proto


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "{folder}/secret.bin", "link", "sub/../../secret.bin", "..\\secret.bin", "C:\\secret.bin"],
)
def test_weights_of_a_model_stay_in_its_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path / "secret.bin")
    (inner / "model.onnx").write_bytes(outside(location.format(folder=tmp_path)).SerializeToString())
    with pytest.raises(InputError, match="not a file inside the model's"):
        load_model(inner / "model.onnx")


def test_weights_that_thousands_of_tensors_share_are_not_read_thousands_of_times(tmp_path: Path) -> None:
    proto = outside("w.bin")
    for number in range(2000):
        proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
        proto.graph.initializer[-1].name = f"w-{number}"
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    with pytest.raises(InputError, match="share the same bytes"):
        load_model(tmp_path / "model.onnx")


def test_weights_larger_than_the_machine_are_not_read(tmp_path: Path) -> None:
    proto = outside("w.bin")
    proto.graph.initializer[0].dims[:] = [2**32, 16]
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(2**38)  # takes no space
    with pytest.raises(MachineError, match="274,877,906,944 bytes"):
        load_model(tmp_path / "model.onnx")


def test_a_weight_of_a_hundred_gigabytes_without_its_bytes_is_refused(tmp_path: Path) -> None:
    proto = network()
    proto.graph.initializer[0].dims[:] = [100_000, 250_000]
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="need 100000000000"):
        load_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("operator", ["f = ConstantOfShape (s)", "f = Expand (x, s)", "f = Tile (x, s)"])
def test_a_tensor_of_a_hundred_gigabytes_is_not_computed(operator: str) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) <int64[1] s = {25000000000}> {%s m = ReduceMax (f) y = Add (x, m)}'
    with pytest.raises(InputError, match=r"100,000,000,000 bytes; at most"):
        engines.ort(onnx.parser.parse_model(text % operator))


def test_a_reference_to_a_functions_attribute_outside_of_one_is_refused() -> None:
    proto = network()
    proto.graph.node[1].attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="a", type=onnx.AttributeProto.FLOAT)
    )
    with pytest.raises(InputError, match="refers to the attribute 'a' of a function"):
        load_model(proto)


def test_an_operator_that_nobody_named_a_library_for_is_not_loaded(tmp_path: Path) -> None:
    node = helper.make_node("Evil", ["x"], ["y"], domain="./evil.so", library="evil.so")
    spec = helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("y", 1, [1])
    graph = helper.make_graph([node], "g", [spec[0]], [spec[1]])
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("./evil.so", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), tmp_path / "model.onnx")
    (tmp_path / "evil.so").write_bytes(b"\x7fELF")
    with pytest.raises(InputError, match="--custom-ops"):
        engines.ort(tmp_path / "model.onnx")


def store(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def huge_rows(file: h5py.File) -> None:
    file.create_dataset("x", (1, 2**34), "f4", chunks=(1, 2**20), compression="gzip", fillvalue=1.0)


def huge_chunk(file: h5py.File) -> None:
    file.create_dataset("x", (2**30, 1), "f4", chunks=(2**29, 1), compression="gzip")


def view_of_itself(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource(".", "x", (4, 3))
    file.create_virtual_dataset("x", layout)


def linked(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("secret.h5", "x")


def kept_elsewhere(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "i4", external=[("secret.bin", 0, 16)])


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (huge_rows, "would take 68,719,476,736 bytes"),
        (huge_chunk, "too large to be unpacked"),
        (view_of_itself, "which is no plain dataset"),
        (linked, "link into another file"),
        (kept_elsewhere, "in another file"),
    ],
)
def test_hdf5_data_neither_leave_their_file_nor_unpack_to_gigabytes(
    tmp_path: Path, fill: Callable[[h5py.File], object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        list(arrays(store(tmp_path / "a.h5", fill)))


@pytest.mark.parametrize("read", [read_histograms, read_sample_columns])
@pytest.mark.parametrize("fill", [huge_rows, huge_chunk, view_of_itself, linked, kept_elsewhere])
def test_stores_of_quantlab_that_ask_for_more_are_refused(
    tmp_path: Path, read: Callable[[Path], object], fill: Callable[[h5py.File], object]
) -> None:
    def named(file: h5py.File) -> None:
        fill(file)
        for name in ("name", "head", "provenance"):
            file.move("x", name) if name == "name" else file.__setitem__(name, h5py.SoftLink("/name"))
        schema = "quantlab-histograms" if read is read_histograms else "quantlab-samples"
        file.attrs["schema"], file.attrs["grid"] = np.bytes_(schema), np.bytes_("log-linear")
        file.attrs["version"] = 1

    with pytest.raises(InputError, match=r"a\.h5"):
        read(store(tmp_path / "a.h5", named))


def npy(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_an_array_file_with_the_header_of_a_hundred_gigabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy((25, 10**9)))
    with pytest.raises(InputError, match="cut short"):
        arrays(tmp_path / "a.npy")


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert array_files.LARGEST_BLOCK <= 2**30
    monkeypatch.setattr(array_files, "LARGEST_BLOCK", 2**22)  # as much more than that is quickly written
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy((1, 2**22)) + bytes(2**24))
    assert (tmp_path / "a.npz").stat().st_size < 2**15
    with pytest.raises(InputError, match="would take 16,777,216 bytes"):
        list(arrays(tmp_path / "a.npz"))
