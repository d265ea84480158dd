"""Where a build's INT8 scales come from, and what TensorRT made of them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.trt_cache import render_cache
from quantlab.engines.cuda.memory import Device
from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    FromCache,
    FromRanges,
    Int8Source,
    NativeCalibration,
    Profile,
)
from quantlab.engines.tensorrt.calibrators import Fed, calibrating, handing_out
from quantlab.engines.tensorrt.config import set_calibration_profile
from quantlab.engines.tensorrt.network import Parsed, check_scaled, set_ranges
from quantlab.engines.tensorrt.ranges import is_exact
from quantlab.engines.tensorrt.runtime import Heard, Library
from quantlab.errors import InputError


@dataclass(slots=True)
class Int8Scales:
    """The scales of one build: given to TensorRT before it, checked after it."""

    title: str = ""
    digest: str = ""
    chosen_on: tuple[DataIdentity, ...] = ()
    notes: tuple[str, ...] = ()
    calibrator: Any = None
    batches: Any = None

    @classmethod
    def prepared(
        cls,
        lib: Library,
        parsed: Parsed,
        config: Any,
        options: BuildOptions,
        int8: Int8Source | None,
        profiles: tuple[Profile, ...],
        device: Device | None,
    ) -> Self:
        """Give the scales to TensorRT.

        Raises
        ------
        InputError
            For a scale that is not symmetric, a cache of an algorithm that TensorRT does not have, or scales of none of
            the network's tensors.
        """
        match int8:
            case FromCache(cache, sets):
                check_scaled(parsed.network, lib.module, cache.scales, "calibration cache")
                made = cls(f"cache {cache.algorithm}", _text_digest(render_cache(cache)), sets)
                made.calibrator = handing_out(lib.module, cache)
            case FromRanges(table, known):
                named = [row.tensor for row in table.rows if row.role != "weight"]
                check_scaled(parsed.network, lib.module, named, "scale table")
                missing = set_ranges(parsed.network, lib.module, table)
                rough = sum(not is_exact(row.scale[0]) for row in table.rows if row.role != "weight")
                text = "\n".join(f"{row.tensor} {row.scale[0].hex()}" for row in table.rows)
                sets = table.provenance.chosen_on if table.provenance else known
                made = cls("dynamic ranges", _text_digest(text), sets, _about_ranges(missing, rough))
            case NativeCalibration():
                made = cls(f"calibrated {int8.algorithm}", batches=int8.batches)
                ran = options.calibration_profile or _at(profiles[0], int8.batch) if profiles else Profile({})
                fed = _fed(lib.module, parsed, ran)
                made.calibrator = calibrating(lib.module, int8, fed, device or Device(options.device))
                if profiles:
                    set_calibration_profile(config, parsed, ran)
            case None:
                return cls()
        if made.calibrator is not None:
            config.int8_calibrator = made.calibrator
        return made

    def heed(self, heard: Heard) -> None:
        """Let a calibration end where what was heard is to be raised, Ctrl-C for instance."""
        if self.calibrator is not None:
            self.calibrator.heard = heard

    def check(self, heard: Heard) -> None:
        """Raise what the calibrator met, and refuse a cache that TensorRT did not take."""
        failure = getattr(self.calibrator, "failure", None)
        if failure is not None and not isinstance(failure, Exception):
            raise failure  # Ctrl-C: what TensorRT made of the batches until then is no calibration
        if failure is not None:
            raise InputError(f"The calibration failed: {str(failure).rstrip('.')}.") from failure
        if self.title.startswith("cache") and self.calibrator.asked:
            raise InputError(
                f"TensorRT did not take the calibration cache and asked for data instead: {heard.first_error}. A cache belongs "
                "to one algorithm and one major version; change its header with `quantlab cache retarget`."
            )
        if self.calibrator is not None and self.title.startswith("calibrated"):
            self.digest = _text_digest(self.written) if self.written else ""
            identity = getattr(self.batches, "identity", None)  # only now does a stream know what it was
            self.chosen_on = (identity,) if identity else ()
            if self.calibrator.dropped:
                rows = self.calibrator.dropped
                self.notes += (f"{rows} rows of calibration data did not fill a batch and were left out",)

    @property
    def written(self) -> str:
        """The cache that TensorRT wrote when it calibrated."""
        if self.calibrator is None or not self.title.startswith("calibrated"):
            return ""
        return bytes(self.calibrator.written).decode("utf-8", errors="surrogateescape")


def _at(profile: Profile, batch: int) -> Profile:
    """Return the profile's best shapes at the calibration's batch size: where calibration runs."""
    return Profile.only({name: (batch, *best[1:]) for name, (_, best, _) in profile.shapes.items()})


def _fed(trt: Any, parsed: Parsed, profile: Profile) -> dict[str, Fed]:
    """Return what calibration reads of each input; an input that the profile does not name has fixed dimensions."""
    tensors = [parsed.network.get_input(i) for i in range(parsed.network.num_inputs)]
    best = {name: shapes[1] for name, shapes in profile.shapes.items()}
    return {t.name: Fed(np.dtype(trt.nptype(t.dtype)), best.get(t.name, tuple(t.shape))) for t in tensors}


def _about_ranges(missing: tuple[str, ...], rough: int) -> tuple[str, ...]:
    notes = []
    if missing:
        shown = ", ".join(f"«{name}»" for name in missing[:4])
        notes.append(
            f"{len(missing)} tensors of the network have no scale and stay float: {shown}{' …' if missing[4:] else ''}"
        )
    if rough:
        notes.append(f"{rough} scales are no 127th part of a float32 and are applied a last bit off")
    return tuple(notes)


def _text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', errors='surrogateescape')).hexdigest()}"
