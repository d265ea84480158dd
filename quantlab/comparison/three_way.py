"""Who is to blame for what INT8 loses: the conversion, the scales, or the engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import PlainValidator

from quantlab.comparison.comparison import CompareOptions, Comparison, compare_pairs
from quantlab.comparison.one_pass import Pair
from quantlab.comparison.tensors import TensorError, TensorProbe
from quantlab.data.batch import Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import UsageError
from quantlab.metrics.metric import Metric
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import Tensors
from quantlab.storage.dataclass_json import Form

Verdict: TypeAlias = Literal["build", "scales", "engine", "none"]
"""build: the float engine is already another network than the model; scales: quantizing itself costs too much; engine:
the INT8 engine is not what the simulation predicts; none: all three are as they should be."""

FORM = Form("quantlab-three-way", "comparison", "compare again")
_STEPS: tuple[Verdict, ...] = ("build", "scales", "engine")

_Comparison = Annotated[Comparison, PlainValidator(Comparison.from_json)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on a step is to blame; every SQNR is that of the worst output, in dB.

    The defaults come from EfficientNet-Lite0 on TensorRT 8.6, scored on 244 images. Its FP32 engine is 119 dB from ONNX Runtime, 49 with TF32,
    45 in FP16, and none of these costs a class. Squared-error scales simulate to 18.7 dB and lose half a point, KL's to
    14.2 and lose one and a half. The INT8 engines are 28.2 and 26.8 dB from the simulations of their own scales, 9 and 12
    dB better than these are from FP32, and 15 dB from a simulation with other scales or other places of Q/DQ at 22: 3
    dB better at most.

    Attributes
    ----------
    build_db
        Below it, the float engine is to blame.
    scales_db
        Below it, the simulation is.
    engine_margin_db
        The INT8 engine is to blame if it is not that much nearer to the simulation than the simulation is to FP32. 6
        dB: it adds a quarter of the noise that was predicted. Nearer than `build_db` it never is to blame.
    ceiling_db, jump_db
        The error jumps at the first tensor whose SQNR is `jump_db` below the least before it, of which what is above
        `ceiling_db` counts as that. A tensor's own INT8 noise is 35 to 42 dB below it.
    """

    build_db: float = 40.0
    scales_db: float = 16.0
    engine_margin_db: float = 6.0
    ceiling_db: float = 40.0
    jump_db: float = 8.0

    def __post_init__(self) -> None:
        if self.jump_db <= 0 or self.engine_margin_db < 0:
            raise UsageError("A jump is a positive number of dB, and the engine's margin none below 0.")


@dataclass(frozen=True, slots=True)
class ThreeWay:
    """Three comparisons on the same samples, and the step that they blame.

    Attributes
    ----------
    build
        The FP32 engine against the reference, ONNX Runtime in FP32.
    scales
        The simulation of INT8 against the reference.
    engine
        The INT8 engine against the simulation.
    whole
        The INT8 engine against the reference: what it all costs.
    thresholds
        By which the verdict was found.
    """

    build: _Comparison
    scales: _Comparison
    engine: _Comparison
    whole: _Comparison
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def guilty(self) -> tuple[Verdict, ...]:
        """Every step beyond its threshold, in the order of the road; empty if none is."""
        limits = self.thresholds
        needed = min(_db(self.scales) + limits.engine_margin_db, limits.build_db)
        bad = (_db(self.build) < limits.build_db, _db(self.scales) < limits.scales_db, _db(self.engine) < needed)
        return tuple(step for step, wrong in zip(_STEPS, bad, strict=True) if wrong)

    @property
    def verdict(self) -> Verdict:
        """The first step that is to blame, as later ones may only show its fault; «none» if none is."""
        return next(iter(self.guilty), "none")

    def jump(self, step: Verdict) -> TensorError | None:
        """Return the first inner tensor at which the error of one step jumps; None if it does nowhere, or none was shown."""
        found: dict[Verdict, Comparison] = {"build": self.build, "scales": self.scales, "engine": self.engine}
        if step not in found:
            raise UsageError(f"The steps are {', '.join(_STEPS)}, not «{step}».")
        return first_jump(found[step].tensors, self.thresholds)

    @property
    def sentence(self) -> str:
        """The verdict for people, with the figures behind it."""
        build, scales, engine = (f"{_db(found):.1f} dB" for found in (self.build, self.scales, self.engine))
        limits = self.thresholds
        said = {
            "build": f"The FP32 engine is to blame: it is {build} from the reference, and {limits.build_db:g} dB are the least. Look "
            "at the conversion, at a plugin, and at what else than quantizing its layers round.",
            "scales": f"The scales are to blame: simulated on the CPU, INT8 alone is {scales} from FP32, and {limits.scales_db:g} dB "
            "are the least. Calibrate by another method or on other data, or leave sensitive layers float.",
            "engine": f"The INT8 engine is to blame: it is {engine} from the simulation, which is {scales} from FP32. Look at "
            "which layers run in INT8, with which scales: `quantlab inspect plan`.",
            "none": f"No step is to blame: the FP32 engine is {build} from the reference, the simulation of INT8 {scales} from "
            f"FP32, and the INT8 engine {engine} from the simulation.",
        }[self.verdict]
        jump = None if self.verdict == "none" else self.jump(self.verdict)
        where = "" if jump is None else f" The error jumps at tensor «{jump.tensor}», to {jump.sqnr_db:.1f} dB."
        more = [step for step in self.guilty if step != self.verdict]
        return said + where + (f" Beyond its threshold, too: {', '.join(more)}." if more else "")

    def to_json(self) -> dict[str, Any]:
        """Return all fields, the verdict and its sentence as JSON values."""
        parts = {"build": self.build, "scales": self.scales, "engine": self.engine, "whole": self.whole}
        build, scales, engine, whole = (part.without_samples() for part in parts.values())
        found = FORM.write(replace(self, build=build, scales=scales, engine=engine, whole=whole))
        told = {"verdict": self.verdict, "guilty": list(self.guilty), "sentence": self.sentence}
        return found | {name: part.to_json() for name, part in parts.items()} | told

    @classmethod
    def from_json(cls, value: object) -> "ThreeWay":
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no three-way check, or a field is missing, unknown or of another type.
        """
        return FORM.read(cls, value)

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.verdict)}</b><br>{escape(self.sentence)}</p>"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Road:
    """The engines of one network, from the model to INT8 on the device.

    Attributes
    ----------
    reference
        The float model in ONNX Runtime.
    fp32
        The float plan.
    simulation
        The Q/DQ model in ONNX Runtime without graph optimization.
    int8
        The INT8 plan, with the same scales.
    probes
        Engines that show inner tensors, by step: «build», «scales», «engine».
    """

    reference: Engine
    fp32: Engine
    simulation: Engine
    int8: Engine
    probes: Mapping[str, TensorProbe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strange = sorted(set(self.probes) - set(_STEPS))
        if strange:
            raise UsageError(
                f"The steps are {', '.join(_STEPS)}, and a probe is for one of them, not for «{strange[0]}»."
            )


def three_way(
    road: Road,
    data: Dataset | Iterable[Tensors],
    *,
    metrics: Iterable[Metric] = (TopK(1),),
    thresholds: Thresholds | None = None,
    options: CompareOptions | None = None,
) -> ThreeWay:
    """Name the step that is to blame for what INT8 loses; one pass, each engine runs once a batch.

    Raises
    ------
    InputError
        As for `compare`.
    """
    settings = options or CompareOptions()
    if settings.probe is not None:
        raise UsageError("A three-way check takes a probe a step: give Road(probes={step: TensorProbe}).")
    pairs = {
        "build": Pair(road.reference, road.fp32, road.probes.get("build")),
        "scales": Pair(road.reference, road.simulation, road.probes.get("scales")),
        "engine": Pair(road.simulation, road.int8, road.probes.get("engine")),
        "whole": Pair(road.reference, road.int8),
    }
    found = compare_pairs(pairs, data, metrics=metrics, options=settings)
    return ThreeWay(found["build"], found["scales"], found["engine"], found["whole"], thresholds or Thresholds())


def first_jump(tensors: Iterable[TensorError], thresholds: Thresholds) -> TensorError | None:
    """Return the first tensor, in the order given, at which the error jumps; None if it does nowhere."""
    least = thresholds.ceiling_db
    for error in tensors:
        if error.sqnr_db <= least - thresholds.jump_db:
            return error
        least = min(least, error.sqnr_db)
    return None


def _db(found: Comparison) -> float:
    # An output without one finite sample is no output: no SQNR is as bad.
    known = [error.sqnr_db if error.accumulated.count else float("-inf") for error in found.outputs]
    return min(known, default=float("inf"))
