"""What a part of the data showed of each pair of engines, and how it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import h5py

from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.exact_sums import ExactErrorSums
from quantlab.comparison.observation import NanSamples, Observation
from quantlab.comparison.sample_file import columns_of, table_of
from quantlab.comparison.tensors import TensorSums
from quantlab.errors import InputError
from quantlab.storage.hdf5_columns import read_array, write_array
from quantlab.workers.part_form import Head, LeftOut, opened, render

_WHOLE = ("signal", "other", "cross", "noise")
"""Sums that are whole numbers of up to two thousand bits, which JSON's readers do not take: hexadecimal."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a part of the data showed of each pair; none where all its samples were left out."""

    head: Head
    observations: Mapping[str, Observation]

    def render(self) -> bytes:
        """Return the part as it is stored."""
        tables = {name: columns_of(one.table) for name, one in self.observations.items()}
        about = {
            "pairs": [
                {
                    "name": name,
                    "about": tables[name][0],
                    "columns": [[key, column.dtype.str, column.shape] for key, column in tables[name][1].items()],
                    "agreement": [one.agreement.agreed, one.agreement.samples],
                    "flips": [[getattr(flip, field.name) for field in fields(Flip)] for flip in one.agreement.flips],
                    "nan": [one.nan.fp32, one.nan.int8],
                    "outputs": {key: _told(sums) for key, sums in one.outputs.items()},
                    "tensors": {key: _told(sums) for key, sums in one.tensors.items()},
                }
                for name, one in self.observations.items()
            ]
        }

        def write(file: h5py.File) -> None:
            for place, (_, columns) in enumerate(tables.values()):
                group = file.create_group(f"pair {place}")
                for index, column in enumerate(columns.values()):
                    write_array(group, str(index), column)

        return render(self.head, about, write)

    def merge(self, other: "Seen") -> "Seen":
        """Return both, this one's samples first."""
        head = self.head.merge(other.head)
        if not self.observations or not other.observations:
            return Seen(head, self.observations or other.observations)
        return Seen(head, {name: one.merge(other.observations[name]) for name, one in self.observations.items()})

    @classmethod
    def parse(cls, data: bytes) -> "Seen":
        """Read what `render` returned.

        Raises
        ------
        InputError
            When it is no such part.
        """
        with opened(data) as (head, about, file):
            pairs = enumerate(about["pairs"])
            return cls(head, {told["name"]: _observation(told, file[f"pair {place}"]) for place, told in pairs})

    @classmethod
    def without(cls, left_out: Sequence[LeftOut]) -> "Seen":
        """Return the part of samples that are all left out."""
        return cls(Head(left_out=tuple(left_out)), {})


def merged_seen(parts: Sequence[Seen]) -> Seen:
    """Return all parts as one, merged like a tree: neighbours first.

    Raises
    ------
    InputError
        When there is none.
    """
    if not parts:
        raise InputError("There is nothing to compare on: the data hold no sample.")
    level = list(parts)
    while len(level) > 1:
        pairs = [one.merge(two) for one, two in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def _observation(told: Mapping[str, Any], group: h5py.Group) -> Observation:
    columns = {
        name: read_array(group, str(place), dtype, tuple(shape))
        for place, (name, dtype, shape) in enumerate(told["columns"])
    }
    agreed, samples = told["agreement"]
    return Observation(
        table_of(told["about"], columns),
        Agreement(agreed, samples, tuple(Flip(*flip) for flip in told["flips"])),
        NanSamples(*told["nan"]),
        {name: _sums(value) for name, value in told["outputs"].items()},
        {name: _sums(value) for name, value in told["tensors"].items()},
    )


def _told(sums: TensorSums) -> list[dict[str, Any] | None]:
    return [None if one is None else _texts(one) for one in (sums.accumulated, sums.own)]


def _texts(sums: ExactErrorSums) -> dict[str, Any]:
    told = {field.name: getattr(sums, field.name) for field in fields(ExactErrorSums)}
    return told | {name: hex(told[name]) for name in _WHOLE} | {"largest": sums.largest.hex()}


def _sums(told: list[dict[str, Any] | None]) -> TensorSums:
    accumulated, own = (None if one is None else _exact(one) for one in told)
    if accumulated is None:
        raise InputError("A stored part lacks the sums of a tensor: start again.")
    return TensorSums(accumulated, own)


def _exact(told: Mapping[str, Any]) -> ExactErrorSums:
    whole = {name: int(told[name], 16) for name in _WHOLE}
    return ExactErrorSums(**{**told, **whole, "largest": float.fromhex(told["largest"])})
