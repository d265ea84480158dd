"""Several caches of one model become one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from quantlab.caches.tensors import related
from quantlab.caches.words import counted
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.errors import InputError, StaleError, UsageError

Policy: TypeAlias = Literal["refuse", "max", "first"]
"""What happens to a tensor with several scales: an error, the largest, or that of the first cache that has it."""

POLICIES: tuple[Policy, ...] = get_args(Policy)
_LISTED = 6


@dataclass(frozen=True, slots=True)
class Conflict:
    """A tensor with several scales: those of the caches that have it, in their order, and the one that was kept."""

    tensor: str
    scales: tuple[float, ...]
    kept: float


@dataclass(frozen=True, slots=True)
class Merged:
    """The cache, with the first one's header, and every tensor that was in conflict."""

    cache: CalibrationCache
    conflicts: tuple[Conflict, ...]


def merge(caches: Sequence[CalibrationCache], *, policy: Policy = "refuse") -> Merged:
    """Return one cache with every tensor of all, in the order in which they first occur.

    Raises
    ------
    UsageError
        For no cache, or an unknown policy.
    InputError
        For caches of different algorithms, and for conflicts under «refuse».
    """
    if not caches or policy not in POLICIES:
        raise UsageError(f"Merging takes at least one cache and a policy of {', '.join(POLICIES)}, not «{policy}».")
    algorithms = dict.fromkeys(cache.algorithm for cache in caches)
    if len(algorithms) > 1:
        raise InputError(
            f"The caches are of several algorithms ({', '.join(algorithms)}), and a header names one: `quantlab cache retarget` "
            "gives them one."
        )
    given: dict[str, list[float]] = {}
    for cache in caches:
        for tensor, scale in cache.scales.items():
            given.setdefault(tensor, []).append(scale)
    kept = {tensor: max(scales) if policy == "max" else scales[0] for tensor, scales in given.items()}
    conflicts = tuple(
        Conflict(tensor, tuple(scales), kept[tensor]) for tensor, scales in given.items() if len(set(scales)) > 1
    )
    if conflicts and policy == "refuse":
        named = "; ".join(f"«{c.tensor}»: {', '.join(f'{s:.6g}' for s in c.scales)}" for c in conflicts[:_LISTED])
        more = f" and {len(conflicts) - _LISTED} more" if len(conflicts) > _LISTED else ""
        raise InputError(
            f"{counted(len(conflicts), 'tensor')} with several scales ({named}{more}): choose with --policy max or --policy first."
        )
    return Merged(CalibrationCache(caches[0].header, kept), conflicts)


def check_one_network(caches: Mapping[str, CalibrationCache]) -> None:
    """Refuse caches, by what errors call them, that share too few names to be of one network.

    Raises
    ------
    InputError
        For a cache that shares less than half of the smaller set of names with all before it.
    """
    seen: set[str] = set()
    for what, cache in caches.items():
        if not related(cache.scales, seen):
            raise InputError(
                f"{what} and the caches before it share {len(seen & set(cache.scales))} of {len(cache.scales)} and {len(seen)} "
                "tensors: they are of different networks. Parts of one network are merged with --model MODEL.onnx, which "
                "checks each against it, or with --parts, which takes your word."
            )
        seen |= set(cache.scales)


def merged_provenance(parts: Sequence[Provenance | None]) -> Provenance | None:
    """Return where the merged cache comes from: every set that had a say; None if a part does not tell.

    Raises
    ------
    StaleError
        When the parts are of several models.
    """
    known = [part for part in parts if part is not None]
    models = {part.model: part.model_name for part in known}
    if len(models) > 1:
        raise StaleError(
            f"The caches were made for several models ({', '.join(f'«{name}»' for name in models.values())}): merge those "
            "of one model, after `quantlab cache rename` if it was exported again."
        )
    if not known or len(known) < len(parts):
        return None
    sets: dict[str, DataIdentity] = {data.digest: data for part in known for data in part.chosen_on}
    versions = {name: version for part in reversed(known) for name, version in part.versions.items()}
    grids = dict.fromkeys(part.grid for part in known)
    return replace(known[0], chosen_on=tuple(sets.values()), versions=versions, grid="; ".join(grids))
