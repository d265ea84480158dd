"""What a conversion from a cache to Q/DQ kept: the scales' bits, the operators in INT8, and what the network computes."""

from dataclasses import dataclass
from pathlib import Path

from quantlab.builder import QuantizeOptions
from quantlab.caches.coverage import Coverage, coverage
from quantlab.caches.equality import Equality, cost, equality
from quantlab.caches.identity import ScaleIdentity, scale_identity
from quantlab.caches.network import CacheNetwork
from quantlab.engines import ort
from quantlab.graph.metadata import noted
from quantlab.graph.model import load_model
from quantlab.graph.placement import Head
from quantlab.graph.target import Target
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.quantizing import Quantizing, read_scales, rebuilt


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is known of a conversion.

    Attributes
    ----------
    scales
        Which scales of the Q/DQ file are the cache's, bit for bit.
    coverage
        Operators that the cache's road may run in INT8, and those that Q/DQ does.
    roads
        The network made of cache and float model, against the Q/DQ file, both simulated; None without samples.
    cost
        The float model against the Q/DQ file, simulated; None without samples.
    """

    scales: ScaleIdentity
    coverage: Coverage
    roads: Equality | None = None
    cost: Equality | None = None


def check_conversion(what: Quantizing, *, samples: DataSource | None = None) -> Conversion:
    """Compare a Q/DQ file with the cache and the float model that it was made of.

    Raises
    ------
    QuantlabError
        As `quantize_model`; InputError for samples that do not fit the model.
    """
    model, quantized = load_model(what.model), load_model(what.output)
    table = read_scales(what.scales, model)
    scales = {row.tensor: row.scale[0] for row in table.rows if row.role != "weight" and row.axis is None}
    options = what.options
    covered = coverage(model, tuple(scales), target=Target.parse(options.target), head=options.head)
    kept = scale_identity(CacheNetwork.of(model).scales(scales), quantized)
    if samples is None:
        return Conversion(kept, covered)
    data = open_data(samples, ort(model).inputs)
    bound = [batch.bind(tuple(ort(model).inputs)) for batch in data]
    again = rebuilt(what).model
    return Conversion(kept, covered, equality(again, quantized, bound), cost(model, quantized, bound))


def check_unpacking(quantized: Path, plain: Path, cache: Path, *, target: str, samples: DataSource) -> Equality:
    """Compare a Q/DQ model with the network made of the plain model and the cache that came of it, both simulated.

    Raises
    ------
    QuantlabError
        As `quantize_model`.
    """
    one = load_model(quantized)
    # A stranger's model does not tell, but its cache has no scale where it is float.
    head: Head = "float" if noted(one, "head") == "float" else "int8"
    options = QuantizeOptions(target=noted(one, "target") or target, allow_missing=True, head=head)
    made = rebuilt(Quantizing(plain, cache, quantized, options)).model
    inputs = ort(one).inputs
    bound = [batch.bind(tuple(inputs)) for batch in open_data(samples, inputs)]
    return equality(one, made, bound)
