"""Which lines of the parsers a corpus reaches: traced by the interpreter itself, functions only, as modules load but once."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

from tests.fuzz.contract import objection
from tests.fuzz.targets import TARGETS, Target

Lines: TypeAlias = dict[str, frozenset[int]]
"""Line numbers by module."""

NOT_READING: dict[str, tuple[str, ...]] = {
    "quantlab.calibration.provenance": (
        "to_json",
        "overlap",
        "_complete_up_to",
        "check_made_for",
        "sketch_of",
        "preprocess_digest",
    ),
    "quantlab.calibration.trt_cache": ("header", "_double", "render_cache", "cache_of"),
    "quantlab.comparison.sample_file": ("write_samples", "columns_of", "samples_path", "_is_float"),
    "quantlab.data.pictures": ("thumbnail", "_encoded", "picture_of_row"),
    "quantlab.graph.external_data": ("externalised",),
    "quantlab.graph.model": ("write_model", "_refuse_heavy_nodes", "_repr_html_", "name", "opset"),
    "quantlab.storage.calibration_cache": ("write_cache", "rewrite_cache", "_write", "_listed"),
    "quantlab.storage.cache_sidecar": ("write_sidecar",),
    "quantlab.storage.hdf5_columns": ("write_array", "write_texts", "write_attribute"),
    "quantlab.storage.histograms_h5": ("write_histograms", "write", "_grid", "_columns"),
    "quantlab.storage.overrides_yaml": ("write_overrides", "change_overrides", "render_overrides", "parse_overrides"),
    "quantlab.storage.run_history": ("add_record", "_cells", "_cut", "_refusal"),
    "quantlab.storage.sample_columns": ("write_sample_columns", "join_texts"),
    "quantlab.storage.scale_table_csv": ("write_scale_table_csv", "_cells", "_float_cell"),
    "quantlab.storage.scale_table_json": ("write_scale_table", "scale_table_schema", "_fields", "_bounds", "_text"),
    "quantlab.storage.float_text": ("json_float",),
    "quantlab.storage.dataclass_json": ("write",),
    "quantlab.storage.shape_text": ("render_shape",),
    "quantlab.storage.files": ("save", "_check_suffix"),
    "quantlab.storage.text": ("write_text", "write_bytes"),
    "quantlab.report.artefacts": ("seeds", "_flat"),
    "quantlab.workers.part_form": ("render", "__str__", "recipe_digest", "check_hashes"),
    "quantlab.deploy.bundle": ("write_bundle",),
    "quantlab.jobs.job_fields": ("this_environment",),
    "quantlab.jobs.policy_file": ("policy_schema", "__get_pydantic_json_schema__", "_section"),
}
"""Functions of these modules that no reader of files calls: they write, draw or compare."""

_SHOWN = ("_repr_html_", "to_json")


def parsers() -> tuple[str, ...]:
    """Return the modules of all targets."""
    return tuple(dict.fromkeys(module for target in TARGETS.values() for module in target.modules))


def executable(module: str) -> frozenset[int]:
    """Return the lines within a module's functions that reading may execute."""
    path = source(module)
    whole = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    left_out = (*NOT_READING.get(module, ()), *_SHOWN)
    text = path.read_text(encoding="utf-8").splitlines()
    lines = (
        line for code in _functions(whole, left_out) for line in _body(code)
    )  # expressions at the top run once, too
    return frozenset(line for line in lines if text[line - 1].strip() != "...")


def source(module: str) -> Path:
    """Return a module's file."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise LookupError(module)
    return Path(found.origin)


def reached(target: Target, data: bytes, folder: Path, modules: tuple[str, ...]) -> tuple[Lines, str]:
    """Return the lines that one input reaches, and the objection to what came of it."""
    files = {str(source(module)): module for module in modules}
    seen: dict[str, set[int]] = {module: set() for module in modules}

    def each_line(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            seen[files[frame.f_code.co_filename]].add(frame.f_lineno)
        return each_line

    def each_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return each_line if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(each_call)
    try:
        wrong = objection(target, data, folder)
    finally:
        sys.settrace(before)
    return {module: frozenset(lines) for module, lines in seen.items()}, wrong


def _functions(code: CodeType, left_out: tuple[str, ...]) -> Iterator[CodeType]:
    for constant in code.co_consts:
        at_the_top = code.co_name == "<module>" and isinstance(constant, CodeType) and constant.co_name.startswith("<")
        if isinstance(constant, CodeType) and constant.co_name not in left_out and not at_the_top:
            if constant.co_flags & inspect.CO_OPTIMIZED:  # bodies of classes are executed when the module loads
                yield constant
            yield from _functions(constant, left_out)


def _body(code: CodeType) -> Iterator[int]:
    """Yield the lines of a function without the line that defines it."""
    only = {line for _, _, line in code.co_lines() if line}
    yield from only if code.co_name.startswith("<") else only - {code.co_firstlineno}
