"""The embedded bundle: what a target needs to build its own plan from stored scales, without calibration data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.trt_cache import CalibrationCache, parse_cache, render_cache
from quantlab.deploy.agreement import check_agreeing
from quantlab.deploy.bundle import Bundle, write_bundle
from quantlab.deploy.embedded_text import plain_text, readme
from quantlab.deploy.folder import put
from quantlab.deploy.plan_programs import cpp_program, profile_shapes, python_program, shell_program
from quantlab.deploy.verify import Verified, verify
from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, Profile, default_profiles
from quantlab.engines.tensorrt.capabilities import has, parse_version
from quantlab.engines.tensorrt.card import VERSION as CARD_VERSION
from quantlab.engines.tensorrt.network import has_qdq, qdq_precisions
from quantlab.engines.tensorrt.plan import digest_of
from quantlab.engines.tensorrt.requirements import check_requirements
from quantlab.engines.tensorrt.trtexec import Subject, command, free_part
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import Model, write_model
from quantlab.storage.cache_sidecar import sidecar_path
from quantlab.storage.calibration_cache import read_cache
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table
from quantlab.storage.text import read_text, write_text
from quantlab.versions import versions

MODEL, CACHE, SCALES = "model.onnx", "calibration.cache", "scales.json"
_PRECISIONS = ("fp32", "tf32", "fp16", "int8")
_OLDEST_KNOWN = (8, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What goes into a bundle.

    Attributes
    ----------
    name
        What to call it.
    model
        The float model with a cache, or one with Q/DQ.
    cache, scales
        The calibration cache of a float model, and the scale table (.json) behind it or behind the Q/DQ; without one, the
        bundle's is read from the cache.
    version
        The TensorRT of the target, for instance «8.6.1»; it reads caches up to 10.
    options
        Precisions, shapes, workspace and DLA of the build.
    chosen_on
        The sets of samples that had a say in the scales.
    notes
        What a user should know.
    """

    name: str
    model: Model
    cache: Path | None
    scales: Path | None
    version: str
    options: BuildOptions
    chosen_on: tuple[DataIdentity, ...] = ()
    notes: tuple[str, ...] = ()


def write_embedded(folder: Path, parts: Embedded, *, force: bool = False) -> tuple[Verified, bool]:
    """Write the bundle's folder; return what was checked, and whether it was made (False: it was there).

    Raises
    ------
    QuantlabError
        UsageError for what the target's TensorRT cannot do or a model without scales, InputError for files that cannot be
        used, StaleError for a cache and a table that disagree, or a cache of another major version of TensorRT.
    """
    cache = _checked_cache(parts)
    subject = Subject.of(MODEL, parts.model.proto)
    profiles = _profiles(parts.options, subject)
    options = replace(parts.options, profiles=profiles)
    int8 = FromCache(cache, parts.chosen_on) if cache is not None else None
    if parse_version(parts.version) >= _OLDEST_KNOWN:
        check_requirements(options, int8, explicit=subject.explicit, library="tensorrt", version=parts.version)
    settings = _settings(parts, cache, profiles)
    script, reason = _script(parts, options, subject, int8)
    bundle = Bundle(
        kind="embedded",
        name=parts.name,
        target=f"tensorrt {parts.version}",
        model=parts.model.digest,
        model_name=parts.model.name,
        files=_files(parts),
        settings=settings,
        chosen_on=parts.chosen_on,
        versions=versions(),
        notes=(*parts.notes, *reason),
    )

    def fill(place: Path) -> None:
        _copy(place, parts)
        write_bundle(place, bundle)
        write_text(place / "make_plan.py", python_program())
        write_text(place / "make_plan.cpp", cpp_program(settings, cache.header if cache else ""))
        if script:
            write_text(place / "make_plan.sh", shell_program(script))
        write_text(place / "README.txt", readme(bundle, script=bool(script)))

    found = list[Verified]()
    made = put(folder, fill, lambda place: found.append(verify(place)), force=force)
    return replace(found[0], folder=folder), made


def _checked_cache(parts: Embedded) -> CalibrationCache | None:
    """Return the cache of a float model that the target can read; None for a model with Q/DQ."""
    version = parse_version(parts.version)
    if has_qdq(parts.model.proto):
        if parts.cache is not None:
            raise UsageError(
                "The model has Q/DQ, which holds its scales: give the float model with the cache, or no cache."
            )
        return None
    if version >= (11, 0):
        raise UsageError(
            f"TensorRT {parts.version} reads no calibration cache, as 11 removed them: give the Q/DQ model, which `quantlab "
            "quantize` or `quantlab cache convert` makes."
        )
    if parts.cache is None:
        raise UsageError("A float model needs its calibration cache: give --cache, or a model with Q/DQ.")
    cache = parse_cache(read_text(parts.cache, "a calibration cache"))
    made_for = cache.version
    if made_for is not None and parse_version(made_for)[0] != version[0]:
        raise StaleError(
            f"'{parts.cache}' is for TensorRT {made_for}, and the target has {parts.version}, which would put it aside: change "
            f"its header with `quantlab cache retarget CACHE --tensorrt {parts.version} -o OUTPUT`."
        )
    if parts.scales is not None:
        check_agreeing(cache, read_scale_table(parts.scales))
    return cache


def _profiles(options: BuildOptions, subject: Subject) -> tuple[Profile, ...]:
    """Return the profiles of the inputs with free dimensions; by default batches from 1 to 32."""
    if not subject.free:
        return ()
    found = tuple(free_part(profile, subject) for profile in options.profiles or default_profiles(subject.free))
    for profile in found:
        lacking = [name for name in subject.free if name not in profile.shapes]
        if lacking:
            raise UsageError(
                f"Input «{lacking[0]}» has free dimensions, but the profile does not name it: give --shapes."
            )
    return found


def _settings(parts: Embedded, cache: CalibrationCache | None, profiles: tuple[Profile, ...]) -> dict[str, Any]:
    options = parts.options
    precision = sorted({*options.precision, *(qdq_precisions(parts.model.proto) if cache is None else {"int8"})})
    others = [name for name in precision if name not in _PRECISIONS]
    if others:
        raise UsageError(
            f"The bundle's programs build {', '.join(_PRECISIONS)}, not {others[0]}: use `quantlab build` there."
        )
    return {
        "form": "qdq" if cache is None else "cache",
        "tensorrt": parts.version,
        "model": MODEL,
        "cache": None if cache is None else CACHE,
        "algorithm": None if cache is None else cache.algorithm,
        "scales": "Q/DQ" if cache is None else f"cache {cache.algorithm}",
        "scales_digest": "" if cache is None else digest_of(render_cache(cache).encode()),
        "precision": precision,
        "profiles": [profile_shapes(profile) for profile in profiles],
        "workspace": options.workspace,
        "dla": options.dla,
        "gpu_fallback": options.gpu_fallback,
        "card_version": CARD_VERSION,
    }


def _script(
    parts: Embedded, options: BuildOptions, subject: Subject, int8: FromCache | None
) -> tuple[str, tuple[str, ...]]:
    """Return trtexec's command, or empty text and why there is none."""
    version, reason = parts.version, ""
    if parse_version(version) < _OLDEST_KNOWN:
        reason = f"the flags of TensorRT {version}'s trtexec are not known"
    elif int8 is not None and int8.cache.algorithm != "EntropyCalibration2":
        reason = f"trtexec reads caches of EntropyCalibration2 alone, and this one is of {int8.cache.algorithm}"
    elif len(options.profiles) > 1 and parse_version(version) < (9, 0):
        reason = f"the trtexec of TensorRT {version} builds one optimization profile"
    elif odd := [name for name in subject.free if not name.isprintable() or set(name) & set(",'")]:
        reason = f"trtexec cannot be told the shapes of «{plain_text(odd[0])}», for the characters in its name"
    if reason:
        return "", (f"There is no make_plan.sh: {reason}.",)
    if int8 is not None and options.profiles and has("calibration profile", "tensorrt", version):
        best = {name: ends[1] for name, ends in options.profiles[0].shapes.items()}
        options = replace(options, calibration_profile=Profile.only(best))
    plain = replace(options, detailed=False)
    return command(subject, plain, int8, plan="model.plan", version=version, cache=CACHE).text, ()


def _files(parts: Embedded) -> Mapping[str, str]:
    found = {"model": MODEL}
    if parts.cache is not None:
        found["cache"] = CACHE
    if parts.scales is not None or parts.cache is not None:
        found["scales"] = SCALES
    return found


def _copy(folder: Path, parts: Embedded) -> None:
    write_model(parts.model, folder / MODEL)
    if parts.cache is not None:
        shutil.copyfile(parts.cache, folder / CACHE)
        if sidecar_path(parts.cache).is_file():
            shutil.copyfile(sidecar_path(parts.cache), sidecar_path(folder / CACHE))
    if parts.scales is not None:
        if parts.scales.suffix.lower() != ".json":
            raise InputError(f"'{parts.scales}': a bundle holds its scale table as .json.")
        shutil.copyfile(parts.scales, folder / SCALES)
    elif parts.cache is not None:
        write_scale_table(folder / SCALES, read_cache(parts.cache))
