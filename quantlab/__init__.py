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
    from quantlab import data, engines, metrics, plots, qat
    from quantlab.audit.audit import Audit, audit_engine
    from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
    from quantlab.calibration.calibrate import calibrate
    from quantlab.calibration.histogram_set import HistogramSet
    from quantlab.calibration.methods.entropy import Entropy
    from quantlab.calibration.methods.minmax import MinMax
    from quantlab.calibration.methods.percentile import Percentile
    from quantlab.calibration.methods.squared_error import SquaredError
    from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
    from quantlab.calibration.overrides import Override, Overrides
    from quantlab.calibration.ranges import Range
    from quantlab.calibration.rules import Fixed, Rule
    from quantlab.calibration.scale_table import Scale, ScaleTable
    from quantlab.calibration.schemes import Affine, Symmetric
    from quantlab.calibration.weight_methods import MaxAbs, SquaredErrorWeights
    from quantlab.collector.channels import ChannelRanges, ChannelSet, collect_channels
    from quantlab.collector.collect import CollectOptions, collect
    from quantlab.comparison.comparison import CompareOptions, Comparison, compare
    from quantlab.comparison.engine_figures import EngineFigures
    from quantlab.comparison.lineup import Lineup, lineup
    from quantlab.comparison.recording import Recording, record
    from quantlab.comparison.sample_file import read_samples
    from quantlab.comparison.sample_table import SampleTable
    from quantlab.comparison.tensors import TensorProbe
    from quantlab.comparison.three_way import Road, ThreeWay, Thresholds, three_way
    from quantlab.diagnosis.diagnosis import DiagnoseOptions, Diagnosis, diagnose
    from quantlab.engines.tensorrt.build import build
    from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, FromRanges, NativeCalibration, Profile
    from quantlab.engines.tensorrt.plan import Plan
    from quantlab.errors import QuantlabError
    from quantlab.graph.lint import lint_qdq
    from quantlab.jobs.regressing import read_run
    from quantlab.metrics.own import metric
    from quantlab.metrics.top_k import TopK
    from quantlab.numerics.divergence import divergence_curve, entropy_threshold
    from quantlab.numerics.histogram import Histogram, LinearGrid
    from quantlab.numerics.tensorrt_histogram import TensorRTGrid, TensorRTHistogram
    from quantlab.plots.by_type import plot
    from quantlab.plots.effect import Effect
    from quantlab.plots.explorer import explore
    from quantlab.qat.onnx_export import ExportOptions, export
    from quantlab.regression.policy import DropLimit, Limit, Policy, SliceLimit
    from quantlab.regression.regress import regress
    from quantlab.regression.regression import Regression
    from quantlab.regression.run import Run
    from quantlab.report.in_memory import write_report
    from quantlab.report.run_parts import RunParts
    from quantlab.storage.files import load, save
    from quantlab.storage.run_history import history
    from quantlab.tuning.candidate import Candidate
    from quantlab.tuning.target import Target
    from quantlab.tuning.tune import TuneOptions, tune
    from quantlab.tuning.tuned import Tuned
    from quantlab.workers.declared import processes, ray

_HOMES = {
    "Affine": "calibration.schemes",
    "Audit": "audit.audit",
    "BuildOptions": "engines.tensorrt.build_options",
    "Candidate": "tuning.candidate",
    "ChannelRanges": "collector.channels",
    "ChannelSet": "collector.channels",
    "CollectOptions": "collector.collect",
    "CompareOptions": "comparison.comparison",
    "Comparison": "comparison.comparison",
    "DiagnoseOptions": "diagnosis.diagnosis",
    "Diagnosis": "diagnosis.diagnosis",
    "DropLimit": "regression.policy",
    "Effect": "plots.effect",
    "EngineFigures": "comparison.engine_figures",
    "Entropy": "calibration.methods.entropy",
    "ExportOptions": "qat.onnx_export",
    "Fixed": "calibration.rules",
    "FromCache": "engines.tensorrt.build_options",
    "FromRanges": "engines.tensorrt.build_options",
    "Histogram": "numerics.histogram",
    "HistogramSet": "calibration.histogram_set",
    "LinearGrid": "numerics.histogram",
    "Limit": "regression.policy",
    "Lineup": "comparison.lineup",
    "MaxAbs": "calibration.weight_methods",
    "MinMax": "calibration.methods.minmax",
    "NativeCalibration": "engines.tensorrt.build_options",
    "Override": "calibration.overrides",
    "Overrides": "calibration.overrides",
    "Percentile": "calibration.methods.percentile",
    "Plan": "engines.tensorrt.plan",
    "Policy": "regression.policy",
    "Profile": "engines.tensorrt.build_options",
    "QuantizeOptions": "builder",
    "QuantizedModel": "builder",
    "QuantlabError": "errors",
    "Range": "calibration.ranges",
    "Recording": "comparison.recording",
    "Regression": "regression.regression",
    "Road": "comparison.three_way",
    "Rule": "calibration.rules",
    "Run": "regression.run",
    "RunParts": "report.run_parts",
    "SampleTable": "comparison.sample_table",
    "Scale": "calibration.scale_table",
    "ScaleTable": "calibration.scale_table",
    "SliceLimit": "regression.policy",
    "SquaredError": "calibration.methods.squared_error",
    "SquaredErrorWeights": "calibration.weight_methods",
    "Symmetric": "calibration.schemes",
    "Target": "tuning.target",
    "TensorProbe": "comparison.tensors",
    "TensorRTEntropy2": "calibration.methods.tensorrt",
    "TensorRTGrid": "numerics.tensorrt_histogram",
    "TensorRTHistogram": "numerics.tensorrt_histogram",
    "TensorRTLegacy": "calibration.methods.tensorrt",
    "TensorRTMinMax": "calibration.methods.tensorrt",
    "ThreeWay": "comparison.three_way",
    "Thresholds": "comparison.three_way",
    "TopK": "metrics.top_k",
    "TuneOptions": "tuning.tune",
    "Tuned": "tuning.tuned",
    "audit_engine": "audit.audit",
    "build": "engines.tensorrt.build",
    "calibrate": "calibration.calibrate",
    "collect": "collector.collect",
    "collect_channels": "collector.channels",
    "compare": "comparison.comparison",
    "diagnose": "diagnosis.diagnosis",
    "divergence_curve": "numerics.divergence",
    "entropy_threshold": "numerics.divergence",
    "explore": "plots.explorer",
    "export": "qat.onnx_export",
    "history": "storage.run_history",
    "lineup": "comparison.lineup",
    "lint_qdq": "graph.lint",
    "load": "storage.files",
    "metric": "metrics.own",
    "plot": "plots.by_type",
    "processes": "workers.declared",
    "quantize": "builder",
    "ray": "workers.declared",
    "read_run": "jobs.regressing",
    "read_samples": "comparison.sample_file",
    "record": "comparison.recording",
    "regress": "regression.regress",
    "save": "storage.files",
    "three_way": "comparison.three_way",
    "tune": "tuning.tune",
    "write_report": "report.in_memory",
}
_PACKAGES = ("data", "engines", "metrics", "plots", "qat")

__all__ = [
    "Affine", "Audit", "BuildOptions", "Candidate", "ChannelRanges", "ChannelSet", "CollectOptions", "CompareOptions",
    "Comparison", "DiagnoseOptions", "Diagnosis", "DropLimit", "Effect", "EngineFigures", "Entropy", "ExportOptions",
    "Fixed", "FromCache", "FromRanges", "Histogram", "HistogramSet", "Limit", "LinearGrid", "Lineup", "MaxAbs", "MinMax",
    "NativeCalibration", "Override", "Overrides", "Percentile", "Plan", "Policy", "Profile", "QuantizeOptions",
    "QuantizedModel", "QuantlabError", "Range", "Recording", "Regression", "Road", "Rule", "Run", "RunParts",
    "SampleTable", "Scale", "ScaleTable", "SliceLimit", "SquaredError", "SquaredErrorWeights", "Symmetric", "Target", "TensorProbe",
    "TensorRTEntropy2",
    "TensorRTGrid", "TensorRTHistogram", "TensorRTLegacy", "TensorRTMinMax", "ThreeWay", "Thresholds", "TopK",
    "TuneOptions", "Tuned", "audit_engine", "build", "calibrate", "collect", "collect_channels", "compare", "data",
    "diagnose", "divergence_curve", "engines", "entropy_threshold", "explore", "export", "history", "lineup", "lint_qdq", "load",
    "metric", "metrics", "plot", "plots", "processes", "qat", "quantize", "ray", "read_run", "read_samples", "record", "regress", "save", "three_way",
    "tune",
    "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"quantlab.{name}")
    if name in _HOMES:
        return getattr(import_module(f"quantlab.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'quantlab' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
