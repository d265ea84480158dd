"""The command line as a process: interruption, a full disk, a closed pipe, its own errors, and how fast it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quantlab import __version__
from tests.cli.workplace import DECLARED, Ended, quantlab, quantlab_process, tree

COMMANDS = ("run", "collect", "calibrate", "quantize", "compare", "report", "lint", "cache")


def test_help_is_quick_and_loads_no_runtime() -> None:
    program = (
        "import sys\n"
        "from quantlab.cli.main import main\n"
        "sys.argv = ['quantlab', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'onnx', 'onnxruntime', 'numpy', 'h5py', 'pandas', 'matplotlib', 'pydantic', 'jinja2', 'PIL'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded []\n")
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "command", [*((c,) for c in COMMANDS[:-1]), ("cache", "show"), ("cache", "diff"), ("cache", "convert")]
)
def test_every_command_has_examples_and_exit_codes(command: tuple[str, ...]) -> None:
    ended = quantlab(*command, "--help")
    assert ended.code == 0
    assert f"quantlab {' '.join(command)} " in ended.out
    assert "Examples:" in ended.out
    assert "Exit codes:" in ended.out


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "quantlab", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"quantlab {__version__}\n"


def test_ctrl_c_leaves_nothing(place: Path) -> None:
    (place / "loader.py").write_text(
        "import os, signal\nimport numpy as np\n"
        "def load_data():\n"
        "    yield {'image': np.zeros((2, 1, 8, 8), np.float32)}\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    yield {'image': np.zeros((2, 1, 8, 8), np.float32)}\n"
    )
    before = tree(place)
    # A shell's background job, as a test run may be, has Ctrl-C ignored.
    heeded = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    command = ("collect", place / "model.onnx", "-d", place / "loader.py", "-o", place / "new.h5")
    ended = quantlab_process(*command, before=heeded)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "Interrupted; nothing half-written was left. Give the same command again to go on.\n"
    assert tree(place) == before


def test_a_second_ctrl_c_does_not_stop_the_cleaning_up(place: Path) -> None:
    (place / "loader.py").write_text(
        "import os, signal\nimport numpy as np\n"
        "def load_data():\n"
        "    try:\n"
        "        yield {'image': np.zeros((2, 1, 8, 8), np.float32)}\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('cleaned up', flush=True)\n"
    )
    heeded = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    command = ("collect", place / "model.onnx", "-d", place / "loader.py", "-o", place / "new.h5")
    ended = quantlab_process(*command, before=heeded)
    assert (ended.code, ended.out) == (130, "cleaned up\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_file_that_must_not_be_read_is_the_machines_refusal(place: Path) -> None:
    # root may read everything, so what the system would answer to others is given as its answer
    refuses = "import os\nreal = os.access\nos.access = lambda path, mode, **k: 'model.onnx' not in str(path) and real(path, mode, **k)"
    ended = quantlab_process("collect", place / "model.onnx", "--random", "2", "-o", place / "new.h5", before=refuses)
    assert (ended.code, ended.out) == (6, "")
    assert ended.err.endswith("is not readable: permission is denied.\n")
    assert ended.err.count("\n") == 1


# Files may grow to 100 bytes only, as on a full disk.
FULL = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"


@pytest.mark.parametrize(
    "arguments",
    [
        ("collect", "@model.onnx", "-d", "@tuning.npz", *DECLARED, "-o", "@new.h5"),
        ("calibrate", "@histograms.h5", "-o", "@scales.json", "--force"),
        ("quantize", "@model.onnx", "@scales.json", "-o", "@int8.onnx", "--force"),
        ("cache", "convert", "@scales.json", "--model", "@model.onnx", "-o", "@int8.cache", "--force"),
        ("compare", "@model.onnx", "@int8.onnx", "-d", "@evaluation.npz", *DECLARED, "-o", "@compare.json"),
    ],
    ids=lambda arguments: str(arguments[0]),
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limits")
def test_a_full_disk_is_one_sentence_and_leaves_the_old_files(place: Path, arguments: tuple[str, ...]) -> None:
    before = tree(place)
    located = [str(place / a[1:]) if a.startswith("@") else a for a in arguments]
    ended = quantlab_process(*located, before=FULL)
    assert (ended.code, ended.out) == (6, ""), ended.err
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    assert tree(place) == before


def test_a_closed_pipe_ends_quietly(place: Path) -> None:
    command = [sys.executable, "-m", "quantlab", "cache", "show", str(place / "int8.cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("argument", ["--help", "--version"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_device_is_one_sentence(argument: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "quantlab", argument], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 6
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1


def test_ctrl_c_while_modules_load() -> None:
    interrupts = "import sys\nclass Finder:\n    def find_spec(self, name, *_):\n        if name == 'typer': raise KeyboardInterrupt\n"
    ended = quantlab_process("--help", before=f"{interrupts}sys.meta_path.insert(0, Finder())")
    assert (ended.code, ended.out, ended.err) == (130, "", "Interrupted; nothing half-written was left.\n")


def broken(*arguments: str, place: Path) -> Ended:
    """Run a command in which something breaks that should not."""
    breaks = "import quantlab.caches.difference as d\ndef difference(*a, **k): raise RuntimeError('odd\\nstate')\nd.difference = difference"
    return quantlab_process(*arguments, "cache", "diff", place / "int8.cache", place / "int8.cache", before=breaks)


def test_our_own_errors_are_one_sentence_too(place: Path) -> None:
    ended = broken(place=place)
    assert (ended.code, ended.out) == (70, "")
    assert ended.err.startswith("Error: internal error (please report it")
    assert ended.err.endswith("RuntimeError: odd\n")
    assert ended.err.count("\n") == 1
    assert "Traceback" in broken("--debug", place=place).err
