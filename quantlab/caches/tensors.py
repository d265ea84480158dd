"""Which tensors of a model a calibration cache is to hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlab.calibration.scale_table import ScaleTable
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph


@dataclass(frozen=True, slots=True)
class CacheTensors:
    """Names in the user's model.

    Attributes
    ----------
    tensors
        Every float activation that calibration can observe, in graph order.
    aliases
        Other names of some of them: outputs of Identity and Dropout, which TensorRT looks up as well.
    """

    tensors: tuple[str, ...]
    aliases: Mapping[str, str]


def cache_tensors(model: Model) -> CacheTensors:
    """Return what TensorRT will look up for a model, as far as it can be calibrated.

    What a folded BatchNormalization hid (`gone`) is not among it: TensorRT folds it too, and needs no scale there.
    """
    normal = normalise(model)
    tensors = Graph(normal.model.proto).float_activations()
    known = set(tensors)
    return CacheTensors(
        tensors, {old: new for old, new in normal.all_aliases.items() if new in known and old not in known}
    )


def with_aliases(table: ScaleTable, aliases: Mapping[str, str]) -> ScaleTable:
    """Return the table with a row for each alias of a tensor that has one."""
    rows = {row.tensor: row for row in table.rows}
    more = [replace(rows[of], tensor=alias) for alias, of in aliases.items() if of in rows and alias not in rows]
    return table.with_rows(more)
