"""Writes a first job for a model and its data, with a comment on every choice; what can be guessed is, and says so."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from quantlab.data.array_files import read_columns
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.jobs.checks import check_float, check_target
from quantlab.jobs.data_source import ARRAY_FILES, DataSource, open_data
from quantlab.jobs.job_fields import JobFields, read_fields
from quantlab.jobs.job_paths import strays
from quantlab.jobs.preprocessing import preprocess_of
from quantlab.storage.text import read_text, write_text

_VALUES = {"scale": "1/255", "mean": 0, "std": 1}
_MARK = "# The preprocessing was guessed from the model's input"
GUESSED = (
    "The preprocessing is still the one that `quantlab job init` guessed from the model's input: set it to the one that the network was "
    "trained with, and delete the comment that says so."
)
_IGNORED = ("label", "index")
_SETS = {
    "calibration": "counts the histograms; some 500 samples like those in the field",
    "tuning": "compares the methods; other samples, since it has a say in the result",
    "evaluation": "scores the result, once; with labels, and samples that nothing else saw",
}


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a first job is for.

    Attributes
    ----------
    model
        The float ONNX model.
    data
        Set's name → its place; calibration is needed.
    output
        The job's file.
    run
        The run folder.
    target
        As in a job.
    """

    model: Path
    data: Mapping[str, Path]
    output: Path
    run: Path
    target: str = "tensorrt"


@dataclass(frozen=True, slots=True)
class _Guess:
    """How the data become the model's input: a line of YAML, None if they are that already, and why."""

    line: str | None
    why: str


def init_job(what: NewJob) -> tuple[str, ...]:
    """Write the job, and return what in it was guessed and has to be looked at, or lies where a job's file may not lead.

    Raises
    ------
    InputError
        When the file is there already, or model or data cannot be used.
    UsageError
        For an unknown target.
    """
    if what.output.exists():
        raise InputError(f"'{what.output}' is there already: move it away, or give another file with -o.")
    check_target(what.target)
    model = load_model(what.model)
    check_float(model)
    for place in what.data.values():
        if not place.exists():
            raise InputError(f"There is no data file or folder '{place}'.")
    guess = _guess(model, what.data["calibration"])
    _check(what.data["calibration"], guess)
    write_text(what.output, _text(what, guess))
    guessed = () if guess.line is None else (_sentence(guess.why),)
    return (*guessed, *(f"`{name}`: {text}." for name, text in strays(read_fields(what.output))))


def still_guessed(found: JobFields) -> bool:
    """Tell whether a job's preprocessing is the one that `init_job` guessed, under the comment that says so."""
    declared = found.values.get("preprocess")
    unchanged = isinstance(declared, dict) and {**declared, **_VALUES} == declared
    return unchanged and _MARK in read_text(found.path, "a job")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _text(what: NewJob, guess: _Guess) -> str:
    folder = what.output.absolute().parent
    preprocess = f"# {_sentence(guess.why)}\n"
    preprocess += "# preprocess: {}\n" if guess.line is None else f"preprocess: {guess.line}\n"
    sets = [_set(name, what.data.get(name), folder) for name in _SETS]
    scored, tuned = "evaluation" in what.data, "tuning" in what.data
    caches = what.target.startswith("tensorrt") and not what.target.startswith("tensorrt@11")
    return "\n".join(
        [
            f"# A job of quantlab: `quantlab run {what.output.name}`. Paths are relative to this file and stay in its folder, or in",
            "# the one where the command is run, if it holds both; what lies elsewhere is given with --set.",
            "# `quantlab job validate`, `explain` and `schema` tell what is wrong, what would be done, and every field.",
            f"model: {_quoted(what.model, folder)}",
            f"output: {_quoted(what.run, folder)} # the run folder",
            "",
            preprocess.rstrip("\n"),
            "",
            "data:",
            *sets,
            "",
            'methods: [minmax, "percentile:99.99", "percentile:99.999", entropy, squared-error]',
            "choose: best # the highest logit SQNR on the tuning set"
            if tuned
            else "choose: squared-error # or best, with a tuning set",
            "",
            f"target: {json.dumps(what.target)} # tensorrt, tensorrt@8.6 … tensorrt@11.0, or ort",
            "weights: int8 # stored as INT8; qdq: FP32 with Q and DQ",
            "head: float # the last weighted operator and the pooling before it; int8: quantize them too",
            f"{'' if caches else '# '}cache: {{version: 8.6.1, algorithm: EntropyCalibration2}} # for TensorRT up to 10",
            "ort: false # true: also a model for ONNX Runtime, with its latency",
            f"{'' if scored else '# '}max_drop: 0.5 # points of the first metric that may be lost; more is exit code 1",
            "# metrics: [top-1] # what sets with labels are scored by",
            '# rules: {"*/logits": minmax} # name pattern → another method',
            "# budget: 512MiB # memory for activations at a time",
            "# workers: 4 # processes that share out the samples; the artefacts have the same bytes with any number",
            "# history: history # a folder that keeps what each run came to; see `quantlab history`",
            "# matrix: {target: [tensorrt@8.6, ort], method: [entropy, squared-error]} # a run for every combination",
            "",
        ]
    )


def _set(name: str, place: Path | None, folder: Path) -> str:
    given = f"  {name}: {_quoted(place, folder)}" if place is not None else f"  # {name}: {name}/"
    return f"{given} # {_SETS[name]}"


def _quoted(path: Path, folder: Path) -> str:
    """Return a path as seen from the job's folder, in quotes where YAML needs them."""
    try:
        text = Path(os.path.relpath(path.absolute(), folder)).as_posix()
    except ValueError:  # on another drive
        text = path.absolute().as_posix()
    plain = text.replace("/", "").replace("_", "").replace("-", "").replace(".", "")
    return text if plain.isalnum() and plain.isascii() and not plain.isdigit() else json.dumps(text, ensure_ascii=False)


def _guess(model: Model, data: Path) -> _Guess:
    stored = {tensor.name for tensor in model.proto.graph.initializer}
    inputs = [value for value in model.proto.graph.input if value.name not in stored]
    if data.suffix.lower() == ".py" or len(inputs) != 1:
        return _Guess(None, "the data come as the model wants them, by the names of its inputs")
    shape = _shape(inputs[0])
    rows = _rows(data)
    if rows is not None and (rows[1] != "uint8" or len(rows[0]) not in (2, 3)):
        return _Guess(None, "the arrays go into the model as they are")
    layout, (height, width, channels) = _image(shape)
    color = "GRAY" if channels == 1 else "RGB"
    sized = isinstance(height, int) and isinstance(width, int) and (rows is None or rows[0][:2] != (height, width))
    fields = [f"resize: [{height}, {width}]"] if sized else []
    fields += [f"color: {color}", f"layout: {layout}", *(f"{name}: {value}" for name, value in _VALUES.items())]
    why = (
        f"the{_MARK[5:]} {list(shape)}: set scale, mean and std (and BGR for RGB) to those that the network "
        "was trained with, as a wrong one ruins every scale"
    )
    return _Guess("{" + ", ".join(fields) + "}", why)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims)


def _image(shape: Sequence[int | str]) -> tuple[str, tuple[int | str, int | str, int | str]]:
    """Return the layout of an image input, and its height, width and channels."""
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        return "NHWC", (shape[1], shape[2], shape[3])
    if len(shape) == 4:
        return "NCHW", (shape[2], shape[3], shape[1])
    return "NCHW", ("?", "?", 3)


def _rows(data: Path) -> tuple[tuple[int, ...], str] | None:
    """Return shape and type of a row of the only array in a file; None for images."""
    if data.is_dir() or data.suffix.lower() not in ARRAY_FILES:
        return None
    columns = [column for key, column in read_columns(data).items() if key not in _IGNORED]
    return (columns[0].shape[1:], str(columns[0].dtype)) if len(columns) == 1 else ((), "several")


def _check(place: Path, guess: _Guess) -> None:
    """Refuse data that cannot be opened at all; a script is not run for it."""
    if place.suffix.lower() != ".py":
        fields = None if guess.line is None else preprocess_of({"scale": 1.0})
        open_data(DataSource(str(place), preprocess=fields), {})
