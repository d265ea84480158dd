"""Step: a float model in, one whose weights are integers out: weight-only, or with activation ranges taken at run time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from quantlab.engines.dynamic_quantization import DynamicModel, quantize_dynamic
from quantlab.engines.tensorrt.capabilities import require, shown
from quantlab.errors import UsageError
from quantlab.graph.metadata import provenance_of
from quantlab.graph.model import Model, load_model, write_model
from quantlab.graph.target import Target
from quantlab.graph.weight_only import WeightOnly, store_weights
from quantlab.jobs.checks import check_target
from quantlab.jobs.manifest import Recipe
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.versions import versions

Mode: TypeAlias = Literal["weight-only", "weight-only-int4", "dynamic"]
"""weight-only: INT8 weights, float activations; weight-only-int4: INT4 in blocks where it goes, else INT8; dynamic: 8-bit
weights and activations, whose ranges ONNX Runtime takes from each batch."""

MODES: tuple[Mode, ...] = get_args(Mode)
_BLOCKS = {True: 64, False: 32}  # TensorRT starts at 64

_ONE_SCALE = (
    "ONNX Runtime's dynamic quantization gives the weight of a convolution one scale for all its channels; static "
    "quantization is the more exact one for convolutional networks."
)
_NOT_FASTER = (
    "TensorRT turns INT8 weights beside float activations into floats again at each run: the plan is smaller, not faster. "
    "INT8 arithmetic takes activation ranges: calibrate and quantize statically."
)


@dataclass(frozen=True, slots=True)
class QuantizingWeights:
    """Which model makes which file.

    Attributes
    ----------
    model
        The float model.
    output
        The .onnx file.
    mode
        What becomes of weights and activations.
    target
        ort, for any mode; tensorrt, for weights alone (INT4: tensorrt@10.0 and later).
    block
        INT4 values that share a scale; None: 32 for ort, 64 for TensorRT.
    """

    model: Path
    output: Path
    mode: Mode
    target: str = "ort"
    block: int | None = None


def quantize_weights(
    what: QuantizingWeights, *, remake: Remake = "never"
) -> tuple[Made, WeightOnly | DynamicModel | None]:
    """Write the model, unless it is current; return it too if it was made.

    Raises
    ------
    QuantlabError
        UsageError for a target or block that the mode does not have, InputError for a model that cannot be used, or as
        `carry_out` tells.
    """
    check_output(what.output, (".onnx",), what.model)
    block = _block(what)
    model = load_model(what.model)
    made: list[WeightOnly | DynamicModel] = []

    def recipe() -> Recipe:
        options: dict[str, object] = {"mode": what.mode, "target": what.target}
        return Recipe("quantize", {"model": model.digest}, options | ({} if block is None else {"block": block}))

    def make() -> Mapping[str, str]:
        made.append(_made(what, model, block))
        write_model(made[0].model, what.output)
        origin = provenance_of(made[0].model)
        return versions() if origin is None else origin.versions

    fresh = carry_out(what.output, recipe, make, remake=remake)
    return Made(what.output, fresh, _notes(what, model)), (made[0] if made else None)


def rebuilt_weights(what: QuantizingWeights) -> WeightOnly | DynamicModel:
    """Return the model without writing it.

    Raises
    ------
    QuantlabError
        As `quantize_weights`.
    """
    return _made(what, load_model(what.model), _block(what))


def _block(what: QuantizingWeights) -> int | None:
    """Return the block's size, once target, mode and size are known to go together."""
    check_target(what.target)
    version = Target.parse(what.target).tensorrt
    if what.mode == "weight-only-int4":
        if version is not None:
            require("int4", "tensorrt", shown(version))
        return _BLOCKS[version is not None] if what.block is None else what.block
    if what.block is not None:
        raise UsageError(f"A block of {what.block} values is for the mode weight-only-int4, not for {what.mode}.")
    if what.mode == "dynamic" and version is not None:
        raise UsageError(
            f"{what.target} takes no activation ranges at run time: only ONNX Runtime does (target ort); for TensorRT, "
            "calibrate and quantize statically."
        )
    return None


def _notes(what: QuantizingWeights, model: Model) -> tuple[str, ...]:
    if what.mode == "dynamic":
        convolves = any(node.op_type == "Conv" for node in model.proto.graph.node)
        return (_ONE_SCALE,) if convolves else ()
    small = what.mode == "weight-only" and Target.parse(what.target).tensorrt is not None
    return (_NOT_FASTER,) if small else ()


def _made(what: QuantizingWeights, model: Model, block: int | None) -> WeightOnly | DynamicModel:
    if what.mode == "dynamic":
        return quantize_dynamic(model)
    return store_weights(model, target=what.target, block=block)
