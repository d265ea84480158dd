"""A cache goes along with its network through a re-export that gave tensors other names."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlab.caches.lint import LintedCache, lint_cache
from quantlab.caches.matching import match
from quantlab.caches.network import CacheNetwork
from quantlab.caches.signature import Level
from quantlab.caches.tensors import related
from quantlab.caches.words import counted
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.trt_cache import CacheLine, CacheText, CalibrationCache
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.view import operator

_OWN = "(Unnamed Layer*"
_LISTED = 4


@dataclass(frozen=True, slots=True)
class Renaming:
    """One tensor's way: its old and new name, what told, and its scale."""

    old: str
    new: str
    told_by: Level
    scale: float


@dataclass(frozen=True, slots=True)
class Renamed:
    """A cache for the new export, and what became of each key.

    Attributes
    ----------
    cache
        In the order of the new graph, with the old header.
    rows
        Every renaming, in the same order.
    ambiguous
        Old tensor with a scale → the new tensors among which the structure cannot tell; none of them got it.
    lost
        Old keys without a counterpart.
    carried
        Keys that TensorRT invented for layers of its own, kept as they are: both exports have the same operators.
    linted
        What the linter says of the result against the new model.
    """

    cache: CalibrationCache
    rows: tuple[Renaming, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    lost: tuple[str, ...]
    carried: tuple[str, ...]
    linted: LintedCache

    @property
    def told_by_weights(self) -> bool:
        """Whether every scale went to a tensor of the same weights: then the models compute the same."""
        return all(row.told_by == "weights" for row in self.rows)

    def check(self) -> None:
        """Refuse a result that does not cover the new model.

        Raises
        ------
        InputError
            Naming the ambiguous tensors, or what the linter found.
        """
        if self.ambiguous:
            old, candidates = next(iter(self.ambiguous.items()))
            raise InputError(
                f"The structure does not tell where {counted(len(self.ambiguous), 'tensor')} went; «{old}», for instance, may be "
                f"{_listed(candidates)}. Give the cache those names by hand, or leave them out with --partial."
            )
        errors = [finding for finding in self.linted.findings if finding.severity == "error"]
        if errors:
            first = errors[0]
            raise InputError(
                f"The renamed cache does not suit the new model: {counted(len(errors), 'error')}; «{first.tensor or first.rule}»: "
                f"{first.message} Write it all the same with --partial."
            )


def rename(cache: CalibrationCache, old: Model, new: Model) -> Renamed:
    """Return the cache under the names of the new export; never guessed: what the structure leaves open stays out.

    Parameters
    ----------
    cache
        For `old`.
    old, new
        Float models: the one that the cache was made for, and the same network exported again, with weights that may
        have been trained further.

    Raises
    ------
    InputError
        A model with Q/DQ, the cache of another model than the old one, or models that share nothing.
    """
    before, after = CacheNetwork.of(old), CacheNetwork.of(new)
    scales = {t: s for t, s in before.scales(cache.scales).items() if t in set(before.tensors.tensors)}
    _check_old(cache, scales, before, after)
    found = match(before.graph, after.graph)
    pairs, levels = dict(found.pairs), dict(found.levels)
    ambiguous: dict[str, tuple[str, ...]] = {}
    for mine, theirs in found.twins:
        if (
            len(mine) == len(theirs)
            and len({_bits(scales[t]) for t in mine if t in scales}) == 1
            and _all(mine, scales)
        ):
            pairs.update(zip(mine, theirs, strict=True))  # whichever is which, the scale is the same
            levels.update(dict.fromkeys(mine, "shapes"))
        else:
            ambiguous.update({t: theirs for t in mine if t in scales})
    back = {new_name: old_name for old_name, new_name in pairs.items()}
    rows = tuple(
        Renaming(back[t], t, levels[back[t]], scales[back[t]])
        for t in after.tensors.tensors
        if t in back and back[t] in scales
    )
    if not rows:
        raise InputError(
            f"None of the {len(scales)} tensors of the cache is told in «{new.name}»: it is another network, and nothing is "
            "written."
        )
    own = [key for key in cache.scales if key.startswith(_OWN)]
    carried = tuple(own) if _operators(old) == _operators(new) else ()
    result = _written(cache, rows, after, carried)
    lost = [t for t in scales if t not in pairs and t not in ambiguous]
    unknown = [k for k in cache.scales if before.aliases.get(k, k) not in scales and k not in carried]
    text = CacheText(result.header, tuple(CacheLine(i + 2, t, s) for i, (t, s) in enumerate(result.scales.items())))
    linted = lint_cache(text, network=after)
    return Renamed(result, rows, ambiguous, (*lost, *unknown), carried, linted)


def render_map(renamed: Renamed) -> str:
    """Return the map as CSV: old, new, told_by, scale; ambiguous tensors with each candidate, lost ones without any."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("old", "new", "told_by", "scale"))
    writer.writerows((row.old, row.new, row.told_by, repr(row.scale)) for row in renamed.rows)
    writer.writerows((old, new, "ambiguous", "") for old, many in renamed.ambiguous.items() for new in many)
    writer.writerows((old, "", "lost", "") for old in renamed.lost)
    return text.getvalue()


def moved_provenance(provenance: Provenance, old: Model, new: Model, renamed: Renamed) -> Provenance:
    """Return where the renamed cache comes from: the same data, for the new model; the old one is named beside the versions.

    Raises
    ------
    InputError
        When the provenance is not the old model's.
    """
    if provenance.model != old.digest:
        raise InputError(
            f"The cache was made for «{provenance.model_name}» ({provenance.model[:19]}…), not for the old model "
            f"«{old.name}» ({old.digest[:19]}…): give the one that it was made for."
        )
    told = "same weights" if renamed.told_by_weights else "other weights"
    versions = dict(provenance.versions) | {"renamed from": f"{provenance.model_name}, {provenance.model}, {told}"}
    return replace(provenance, model=new.digest, model_name=new.name, versions=versions)


def _check_old(cache: CalibrationCache, scales: Mapping[str, float], before: CacheNetwork, after: CacheNetwork) -> None:
    """Refuse the cache of another model than the old one; `scales` are those of the old one's tensors."""
    names = before.tensors.tensors
    keys = {before.aliases.get(key, key) for key in cache.scales}
    if scales and related(keys, names):
        return
    swapped = cache.scales and related(cache.scales, after.tensors.tensors)
    why = "are --from and --to swapped?" if swapped else "it was made for another model."
    raise InputError(f"The cache has {len(scales)} of the {len(names)} tensors of the old model, --from: {why}")


def _written(
    cache: CalibrationCache, rows: tuple[Renaming, ...], network: CacheNetwork, carried: tuple[str, ...]
) -> CalibrationCache:
    scales = {row.new: row.scale for row in rows}
    aliases = {alias: scales[of] for alias, of in network.tensors.aliases.items() if of in scales}
    return CalibrationCache(cache.header, scales | aliases | {key: cache.scales[key] for key in carried})


def _operators(model: Model) -> list[str]:
    return [operator(node) for node in model.proto.graph.node]


def _all(tensors: tuple[str, ...], scales: Mapping[str, float]) -> bool:
    return all(tensor in scales for tensor in tensors)


def _bits(scale: float) -> bytes:
    return struct.pack("!f", scale)


def _listed(names: tuple[str, ...]) -> str:
    more = f" or {len(names) - _LISTED} others" if len(names) > _LISTED else ""
    return " or ".join(f"«{name}»" for name in names[:_LISTED]) + more
