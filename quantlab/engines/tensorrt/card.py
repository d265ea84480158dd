"""What a plan is: built from which model, by which TensorRT, for which GPU, with whose scales."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.engines.tensorrt.capabilities import TITLES
from quantlab.errors import InputError

VERSION = 2
"""Of the card's JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCard:
    """Where a plan comes from and where it runs.

    Attributes
    ----------
    library, version
        «tensorrt» or «tensorrt_rtx», and its version.
    device, compute_capability
        The GPU that it was tuned for; empty if it was built without one.
    version_compatible, hardware_compatible
        Whether it also runs on later versions, or on Ampere and later GPUs.
    precision
        What its layers may compute in.
    scales
        Where INT8 scales come from: «Q/DQ», «cache EntropyCalibration2», «dynamic ranges», «calibrated entropy2», or
        empty.
    scales_digest
        Digest of that cache or table; empty for Q/DQ.
    model, model_name
        Digest and file name of the user's model.
    digest
        Of the plan's bytes.
    layers_digest
        Of what the engine inspector says of it; empty where no GPU could tell.
    size
        Bytes of the plan.
    build_seconds
        What building took.
    device_memory
        Bytes of scratch memory that a context needs; None where no GPU could tell.
    stripped
        Whether the weights were left out.
    plugins
        File names of the plugin libraries that it needs.
    chosen_on
        The sets of samples that had a say in the scales.
    profiles
        Input → its smallest, best and largest shape, one mapping a profile.
    notes
        What a user should know: rows of calibration data left over, tensors without a scale, warnings.
    """

    library: str
    version: str
    device: str
    compute_capability: str
    version_compatible: bool
    hardware_compatible: bool
    precision: tuple[str, ...]
    scales: str
    scales_digest: str
    model: str
    model_name: str
    digest: str
    layers_digest: str
    size: int
    build_seconds: float
    device_memory: int | None
    stripped: bool
    plugins: tuple[str, ...] = ()
    chosen_on: tuple[DataIdentity, ...] = ()
    profiles: tuple[Mapping[str, tuple[tuple[int, ...], ...]], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        sets = [used.to_json() for used in self.chosen_on]
        return {"schema": "quantlab-plan", "schema_version": VERSION, **asdict(self), "chosen_on": sets}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned.

        Raises
        ------
        InputError
            When a field is missing, unknown or of another type, or the form is newer.
        """
        if not isinstance(value, dict) or value.get("schema") != "quantlab-plan":
            raise InputError("it is no plan card of quantlab")
        if value.get("schema_version") != VERSION:
            raise InputError(
                f"it is a plan card of version {value.get('schema_version')}; this quantlab reads {VERSION}"
            )
        given = {key: part for key, part in value.items() if key not in ("schema", "schema_version")}
        names = {f.name for f in fields(cls)}
        if set(given) != names:
            raise InputError(f"its fields differ from a plan card's: {', '.join(sorted(set(given) ^ names))}")
        try:
            return cls(**given | _converted(given))
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
            raise InputError(f"a field of the plan card is damaged: {error}") from error


def _converted(given: Mapping[str, Any]) -> dict[str, Any]:
    memory = given["device_memory"]
    texts = (
        "library",
        "version",
        "device",
        "compute_capability",
        "scales",
        "scales_digest",
        "model",
        "model_name",
        "digest",
        "layers_digest",
    )
    for name in texts:
        if not isinstance(given[name], str):
            raise TypeError(f"{name} is {json.dumps(given[name])[:40]}, not text")
    for name in ("version_compatible", "hardware_compatible", "stripped"):
        if not isinstance(given[name], bool):
            raise TypeError(f"{name} is {json.dumps(given[name])[:40]}, not true or false")
    if given["library"] not in TITLES:
        raise ValueError(f"library is {given['library'][:40]}, neither {' nor '.join(TITLES)}")
    return {
        "precision": tuple(str(p) for p in given["precision"]),
        "size": int(given["size"]),
        "build_seconds": float(given["build_seconds"]),
        "device_memory": None if memory is None else int(memory),
        "plugins": tuple(str(p) for p in given["plugins"]),
        "chosen_on": tuple(DataIdentity.from_json(used) for used in given["chosen_on"]),
        "profiles": tuple(
            {str(name): _ends(shapes) for name, shapes in profile.items()} for profile in given["profiles"]
        ),
        "notes": tuple(str(note) for note in given["notes"]),
    }


def _ends(shapes: Any) -> tuple[tuple[int, ...], ...]:
    """Return smallest, best and largest shape."""
    low, best, high = (tuple(int(n) for n in shape) for shape in shapes)
    return low, best, high
