"""The engines that are measured, by name, and how each is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.caches.tensors import cache_tensors, with_aliases
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache, cache_of, header
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.build_options import (
    Algorithm,
    BuildOptions,
    FromCache,
    FromRanges,
    Int8Source,
    NativeCalibration,
    Precision,
    Profile,
)
from quantlab.graph.model import Model, load_model
from quantlab.storage.files import load, save
from tests.gpu.prepare import table_path
from tests.gpu.subjects import INPUT, LITE0, Images, Subject

TARGET = "tensorrt@8.6"
METHOD = "squared-error"
CHOSEN = "percentile:99.999"
"""Of the methods with a float head, the one whose simulation on the calibration images passes 0.978 and 19 dB."""

FLOAT: dict[str, tuple[Precision, ...]] = {"fp32": ("fp32",), "tf32": ("fp32", "tf32"), "fp16": ("fp32", "fp16")}
NATIVE = tuple(f"native_{name}" for name in ("entropy2", "minmax", "legacy"))
QDQ = {
    "qdq": QuantizeOptions(target=TARGET),
    "qdq_head_int8": QuantizeOptions(target=TARGET, head="int8"),
    "qdq_chosen": QuantizeOptions(target=TARGET),
}
OURS = ("cache", "ranges", *QDQ)
"""INT8 with quantlab's scales."""


def names(subject: Subject) -> tuple[str, ...]:
    """Return every engine of a network, in the order in which a shared timing cache helps most."""
    if subject is LITE0:
        return (*FLOAT, "cache", "ranges", *QDQ, *NATIVE, "cache_fp16")
    return (*FLOAT, "cache", "ranges", "qdq", "qdq_head_int8")


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What the engines of one network are made from.

    Attributes
    ----------
    subject, model, images
        The float network and its data.
    tables
        The folder that `tests.gpu.prepare` filled.
    sizes
        Batch sizes; a profile for each, tuned for it alone.
    out
        Where Q/DQ models go.
    timing_cache
        Shared between builds.
    """

    subject: Subject
    model: Path
    images: Images
    tables: Path
    sizes: tuple[int, ...]
    out: Path
    timing_cache: str | None = None

    @property
    def table(self) -> ScaleTable:
        return self._table(METHOD)

    def _table(self, method: str) -> ScaleTable:
        found = load(table_path(self.tables, self.subject.name, method))
        assert isinstance(found, ScaleTable)
        return found

    def options(self, *precision: Precision) -> BuildOptions:
        profiles = tuple(Profile.only({INPUT: (size, *self.subject.shape)}) for size in self.sizes)
        return BuildOptions(precision=precision, profiles=profiles, timing_cache=self.timing_cache)

    def cache(self, version: str) -> CalibrationCache:
        aliases = cache_tensors(load_model(self.model)).aliases
        return cache_of(with_aliases(self.table, aliases), header(version, "EntropyCalibration2"))

    def qdq(self, name: str) -> Model:
        """Return the Q/DQ model of this name, and leave its file in the folder."""
        table = self._table(CHOSEN) if name == "qdq_chosen" else self.table
        made = quantize(self.model, table, options=QDQ[name])
        save(made.model, self.onnx(name))
        return made.model

    def onnx(self, name: str) -> Path:
        """Return the ONNX file that an engine is built of."""
        return self.out / f"{self.subject.name}.{name}.onnx" if name in QDQ else self.model

    def digest(self, name: str) -> str:
        return f"sha256:{hashlib.sha256(self.onnx(name).read_bytes()).hexdigest()}"

    def simulation(self, name: str) -> Engine | None:
        """Return ONNX Runtime's simulation of an INT8 engine, whose head TensorRT keeps float unless Q/DQ says otherwise."""
        if name not in OURS:
            return None
        return engines.ort(self.qdq(name if name in QDQ else "qdq"), optimize=False)

    def build(self, name: str) -> Engine:
        """Build and open a plan."""
        if name in FLOAT:
            return engines.trt(self.model, options=self.options(*FLOAT[name]))
        if name in QDQ:
            return engines.trt(self.qdq(name), options=self.options("fp32", "int8"))
        precision: tuple[Precision, ...] = ("fp32", "fp16", "int8") if name == "cache_fp16" else ("fp32", "int8")
        return engines.trt(self.model, options=self.options(*precision), int8=self._source(name))

    def _source(self, name: str) -> Int8Source:
        if name == "ranges":
            return FromRanges(self.table)
        if name in NATIVE:
            algorithm: Any = name.removeprefix("native_")
            assert algorithm in get_args(Algorithm)
            return NativeCalibration(algorithm=algorithm, batches=self.images.calibration)
        from quantlab.engines.tensorrt.runtime import library

        provenance = self.table.provenance
        return FromCache(self.cache(library().version), provenance.chosen_on if provenance else ())

    def rehearse(self, name: str) -> Engine:
        """Open what ONNX Runtime can stand up for an engine of this name, where there is no GPU."""
        return self.simulation(name) or engines.ort(self.model)
