"""What a run made, as values: everything that its report is built from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quantlab.audit.audit import Audit
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.lineup import Lineup
from quantlab.comparison.sample_table import SampleTable
from quantlab.diagnosis.diagnosis import Diagnosis
from quantlab.errors import InputError
from quantlab.report.artefacts import Artefact
from quantlab.report.precision import Precision
from quantlab.report.searched import Search, Training


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run made; whatever is missing is left off the page.

    Attributes
    ----------
    title
        The page's heading; empty names the model.
    tables
        By method name, in the order of the page.
    chosen
        Name of the table that the INT8 model was built from; None if there is but one, or none.
    histograms
        What the methods saw.
    tuning
        By method name: the comparisons that chose.
    final, ort
        The score of the result, and of the model for ONNX Runtime's integer kernels.
    floats
        Tensor or operator → why it stays float.
    sizes
        Bytes by «fp32» and «int8»; the final comparison's own by default.
    max_drop
        Points that INT8 may lose.
    samples
        The final comparison's samples, for pictures and class sizes; by default those that it holds in memory.
    class_names
        By number.
    search, training, coverages
        What tuning and training left, and the share of the work on integers by INT8 model file; "" is the result's.
    training_is_result
        `final` is the best of the training's rungs.
    precision, audit
        Of the INT8 model, and of the engine built from it.
    diagnosis, lineup
        What `quantlab diagnose` and `quantlab compare` of several engines found.
    artefacts
        What the folder's manifest lists.
    """

    title: str = ""
    tables: Mapping[str, ScaleTable] = field(default_factory=dict)
    chosen: str | None = None
    histograms: HistogramSet | None = None
    tuning: Mapping[str, Comparison] = field(default_factory=dict)
    final: Comparison | None = None
    ort: Comparison | None = None
    floats: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    max_drop: float | None = None
    samples: SampleTable | None = None
    class_names: tuple[str, ...] = ()
    search: Search | None = None
    training: Training | None = None
    training_is_result: bool = False
    coverages: Mapping[str, float] = field(default_factory=dict)
    precision: Precision | None = None
    audit: Audit | None = None
    diagnosis: Diagnosis | None = None
    lineup: Lineup | None = None
    artefacts: tuple[Artefact, ...] = ()

    def __post_init__(self) -> None:
        if self.chosen is not None and self.tables and self.chosen not in self.tables:
            raise InputError(f"The chosen method «{self.chosen}» is none of the tables {', '.join(self.tables)}.")
