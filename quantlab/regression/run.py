"""What the gate knows of one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.sample_table import SampleTable
from quantlab.errors import InputError


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a network runs INT8.

    Attributes
    ----------
    int8_operators, operators
        Operators whose result comes from integers, and all that compute numbers.
    int8_macs, macs
        Multiply-accumulates of a sample in INT8 operators, and all; None where nobody counted.
    """

    int8_operators: int
    operators: int
    int8_macs: int | None = None
    macs: int | None = None

    def __post_init__(self) -> None:
        pairs = [(self.int8_operators, self.operators), (self.int8_macs or 0, self.macs or 0)]
        if any(not 0 <= part <= whole for part, whole in pairs) or (self.int8_macs is None) != (self.macs is None):
            raise InputError(f"What runs INT8 is a part of all, not {self}.")

    @property
    def share(self) -> float:
        """Share of the operators, 0 … 1; 1 of none."""
        return self.int8_operators / self.operators if self.operators else 1.0

    @property
    def macs_share(self) -> float | None:
        """Share of the multiply-accumulates, 0 … 1; None where nobody counted."""
        if self.macs is None or self.int8_macs is None:
            return None
        return self.int8_macs / self.macs if self.macs else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run: a comparison, what it says sample by sample, and what it was made from.

    Attributes
    ----------
    name
        For people: the run's folder, or a title.
    comparison
        FP32 beside INT8 on the evaluation set.
    samples
        The same, sample by sample; None takes the comparison's own, which `compare` returns and its file does not hold.
    scales
        The INT8 network's; None leaves scale drift out.
    histograms
        Returns the calibration histograms; called once at most, and only if there is a use for them.
    coverage
        What runs INT8; None where nobody counted.
    model, int8_model
        Digests of the float and the INT8 model, «sha256:…»; empty if unknown. The float one is else taken from the scales.
    versions
        What ran, by name, as the manifest records it: «quantlab», «onnxruntime», «tensorrt», «gpu», «driver», ….
    target, method
        What the INT8 model was built for, and the calibration method chosen; empty if unknown.
    class_names
        From class 0; empty if unknown.
    """

    name: str
    comparison: Comparison
    samples: SampleTable | None = None
    scales: ScaleTable | None = None
    histograms: Callable[[], HistogramSet | None] | None = None
    coverage: Coverage | None = None
    model: str = ""
    int8_model: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    method: str = ""
    class_names: tuple[str, ...] = ()
