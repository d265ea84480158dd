"""quantlab: an INT8 quantization and calibration workbench.

>>> import quantlab as ql
>>> float(ql.Histogram.of([0.5, -2.0]).amax)
2.0

Names load what they need when they are first used: `import quantlab` alone imports no runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from quantlab import data, engines, qat
    from quantlab.audit.audit import Audit, audit_engine
    from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
    from quantlab.calibration.calibrate import calibrate
    from quantlab.calibration.histogram_set import HistogramSet
    from quantlab.calibration.methods.entropy import Entropy
    from quantlab.calibration.methods.minmax import MinMax
    from quantlab.calibration.methods.percentile import Percentile
    from quantlab.calibration.methods.squared_error import SquaredError
    from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
    from quantlab.calibration.ranges import Range
    from quantlab.calibration.rules import Fixed, Rule
    from quantlab.calibration.scale_table import Scale, ScaleTable
    from quantlab.calibration.schemes import Affine, Symmetric
    from quantlab.collector.collect import CollectOptions, collect
    from quantlab.comparison.comparison import Comparison, compare
    from quantlab.comparison.lineup import Lineup, lineup
    from quantlab.comparison.recording import Recording, record
    from quantlab.comparison.tasks import TopK
    from quantlab.comparison.three_way import Road, ThreeWay, Thresholds, three_way
    from quantlab.diagnosis.diagnosis import DiagnoseOptions, Diagnosis, diagnose
    from quantlab.engines.tensorrt.build import build
    from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, FromRanges, NativeCalibration, Profile
    from quantlab.engines.tensorrt.plan import Plan
    from quantlab.errors import QuantlabError
    from quantlab.graph.lint import lint_qdq
    from quantlab.numerics.divergence import divergence_curve, entropy_threshold
    from quantlab.numerics.drawing import plot
    from quantlab.numerics.histogram import Histogram, LinearGrid
    from quantlab.numerics.tensorrt_histogram import TensorRTGrid, TensorRTHistogram
    from quantlab.qat.onnx_export import ExportOptions, export
    from quantlab.storage.files import load, save
    from quantlab.tuning.target import Target
    from quantlab.tuning.tune import TuneOptions, tune
    from quantlab.tuning.tuned import Tuned

_HOMES = {
    "Affine": "calibration.schemes",
    "Audit": "audit.audit",
    "BuildOptions": "engines.tensorrt.build_options",
    "CollectOptions": "collector.collect",
    "Comparison": "comparison.comparison",
    "DiagnoseOptions": "diagnosis.diagnosis",
    "Diagnosis": "diagnosis.diagnosis",
    "Entropy": "calibration.methods.entropy",
    "ExportOptions": "qat.onnx_export",
    "Fixed": "calibration.rules",
    "FromCache": "engines.tensorrt.build_options",
    "FromRanges": "engines.tensorrt.build_options",
    "Histogram": "numerics.histogram",
    "HistogramSet": "calibration.histogram_set",
    "LinearGrid": "numerics.histogram",
    "Lineup": "comparison.lineup",
    "MinMax": "calibration.methods.minmax",
    "NativeCalibration": "engines.tensorrt.build_options",
    "Percentile": "calibration.methods.percentile",
    "Plan": "engines.tensorrt.plan",
    "Profile": "engines.tensorrt.build_options",
    "QuantizeOptions": "builder",
    "QuantizedModel": "builder",
    "QuantlabError": "errors",
    "Range": "calibration.ranges",
    "Recording": "comparison.recording",
    "Road": "comparison.three_way",
    "Rule": "calibration.rules",
    "Scale": "calibration.scale_table",
    "ScaleTable": "calibration.scale_table",
    "SquaredError": "calibration.methods.squared_error",
    "Symmetric": "calibration.schemes",
    "Target": "tuning.target",
    "TensorRTEntropy2": "calibration.methods.tensorrt",
    "TensorRTGrid": "numerics.tensorrt_histogram",
    "TensorRTHistogram": "numerics.tensorrt_histogram",
    "TensorRTLegacy": "calibration.methods.tensorrt",
    "TensorRTMinMax": "calibration.methods.tensorrt",
    "ThreeWay": "comparison.three_way",
    "Thresholds": "comparison.three_way",
    "TopK": "comparison.tasks",
    "TuneOptions": "tuning.tune",
    "Tuned": "tuning.tuned",
    "audit_engine": "audit.audit",
    "build": "engines.tensorrt.build",
    "calibrate": "calibration.calibrate",
    "collect": "collector.collect",
    "compare": "comparison.comparison",
    "diagnose": "diagnosis.diagnosis",
    "divergence_curve": "numerics.divergence",
    "entropy_threshold": "numerics.divergence",
    "export": "qat.onnx_export",
    "lineup": "comparison.lineup",
    "lint_qdq": "graph.lint",
    "load": "storage.files",
    "plot": "numerics.drawing",
    "quantize": "builder",
    "record": "comparison.recording",
    "save": "storage.files",
    "three_way": "comparison.three_way",
    "tune": "tuning.tune",
}
_PACKAGES = ("data", "engines", "qat")

__all__ = [
    "Affine", "Audit", "BuildOptions", "CollectOptions", "Comparison", "DiagnoseOptions", "Diagnosis", "Entropy",
    "ExportOptions", "Fixed", "FromCache", "FromRanges", "Histogram", "HistogramSet", "LinearGrid", "Lineup", "MinMax",
    "NativeCalibration", "Percentile", "Plan", "Profile", "QuantizeOptions", "QuantizedModel", "QuantlabError",
    "Range", "Recording", "Road", "Rule", "Scale", "ScaleTable", "SquaredError", "Symmetric", "Target",
    "TensorRTEntropy2", "TensorRTGrid", "TensorRTHistogram", "TensorRTLegacy", "TensorRTMinMax", "ThreeWay",
    "Thresholds", "TopK", "TuneOptions", "Tuned", "audit_engine", "build", "calibrate", "collect", "compare", "data",
    "diagnose", "divergence_curve", "engines", "entropy_threshold", "export", "lineup", "lint_qdq", "load", "plot",
    "qat", "quantize", "record", "save", "three_way", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"quantlab.{name}")
    if name in _HOMES:
        return getattr(import_module(f"quantlab.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'quantlab' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
