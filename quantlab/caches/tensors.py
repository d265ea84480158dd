"""Which tensors of a model a calibration cache is to hold."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError
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
    return observable(Graph(normal.model.proto), normal.all_aliases)


def observable(graph: Graph, aliases: Mapping[str, str]) -> CacheTensors:
    """Return the same of a graph that was normalised already, and what normalising took other names from."""
    tensors = graph.float_activations()
    known = set(tensors)
    return CacheTensors(tensors, {old: new for old, new in aliases.items() if new in known and old not in known})


def related(one: Collection[str], other: Collection[str]) -> bool:
    """Tell whether two sets of names may be of one network: at least half of the smaller one's are shared."""
    return 2 * len(set(one) & set(other)) >= min(len(one), len(other))


def check_names(keys: Collection[str], model: Model, *, what: str) -> None:
    """Refuse the keys of a cache, which errors call `what`, that cannot be the model's.

    Raises
    ------
    InputError
        As described.
    """
    wanted = cache_tensors(model)
    names = {*wanted.tensors, *wanted.aliases}
    if not related(keys, names):
        raise InputError(
            f"{what} has {len(names & set(keys))} of the {len(names)} tensors of «{model.name}»: it is the cache of another "
            "model, or of another export, from which `quantlab cache rename` takes it along."
        )


def with_aliases(table: ScaleTable, aliases: Mapping[str, str]) -> ScaleTable:
    """Return the table with a row for each alias of a tensor that has one."""
    rows = {row.tensor: row for row in table.rows}
    more = [replace(rows[of], tensor=alias) for alias, of in aliases.items() if of in rows and alias not in rows]
    return table.with_rows(more)
