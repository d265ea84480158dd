"""What scales cost at the network's output, on a few samples: an override, and at once what it does."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import CompareOptions, Comparison
from quantlab.comparison.lineup import Lineup, lineup
from quantlab.comparison.recording import record
from quantlab.data.batch import Dataset
from quantlab.data.stream import Stream, as_dataset, stream
from quantlab.engines.engine import Engine
from quantlab.errors import UsageError
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.markup import card
from quantlab.tuning.samples import Row, sample_batches, samples_of

_BATCH = 8
_READ = 4  # samples looked at for one taken


class Effect:
    """Runs a table's INT8 network beside FP32 on a few samples; FP32's answers are computed once and kept.

    Attributes
    ----------
    samples
        How many it compares on.

    Examples
    --------
    ::

        changed = table.override("/stem/Clip_output_0", ql.Range(0, 6))
        ql.Effect("model.onnx", data).beside({"before": table, "after": changed})
    """

    def __init__(
        self,
        model: Any,
        data: Dataset | Iterable[Tensors],
        *,
        samples: int = 16,
        options: QuantizeOptions | None = None,
        threads: int | None = None,
    ) -> None:
        """Run FP32 on the samples.

        Parameters
        ----------
        model
            The float model: path, ModelProto or Model.
        data
            The first so many samples, or as many spread over the beginning of a data set; labels are not needed.
        options
            How tables become Q/DQ models; for TensorRT its INT8 arithmetic is simulated, for «ort» ONNX Runtime's
            own runs.
        threads
            Of the runtime; None is one a core.

        Raises
        ------
        UsageError
            For fewer than one sample.
        InputError
            For a model or data that cannot be used.
        """
        if samples < 1:
            raise UsageError(f"An effect is seen on at least one sample, not {samples}.")
        self._model, self._options, self._threads = load_model(model), options or QuantizeOptions(), threads
        with engines.ort(self._model, threads=threads) as fp32:
            self._batches = sample_batches(_known(data, samples), fp32.inputs, samples=samples, batch=_BATCH)
            self._fp32 = record(fp32, self._batches).engine()
        self.samples = samples_of(self._batches)

    def __call__(self, table: ScaleTable) -> Comparison:
        """Return INT8 with these scales against FP32: SQNR and cosine of the outputs, agreement; no metric.

        Raises
        ------
        QuantlabError
            As `ql.quantize`.
        """
        return self.beside({"INT8": table})["INT8"].comparison

    def beside(self, tables: Mapping[str, ScaleTable]) -> Lineup:
        """Return the networks of several tables in one lineup, by name, as `quantlab.lineup` does.

        Raises
        ------
        QuantlabError
            As `ql.quantize`.
        """
        opened = {name: self._open(table) for name, table in tables.items()}
        return lineup(self._fp32, opened, self._batches, metrics=(), options=CompareOptions(final=False))

    def _repr_html_(self) -> str:
        return card("Effect", {"samples": self.samples, "target": self._options.target}, name=self._model.name)

    def _open(self, table: ScaleTable) -> Engine:
        built = quantize(self._model, table, options=self._options).model
        if self._options.target.startswith("ort"):
            return engines.ort(built, threads=self._threads)
        return engines.simulation(built, threads=self._threads)


def _known(data: Dataset | Iterable[Tensors], samples: int) -> Dataset:
    """Return a data set of known length; of a stream, which tells its length only after a whole pass, the beginning."""
    given = as_dataset(data)
    if hasattr(type(data), "identity") and not isinstance(given, Stream):
        return given
    first: list[Row] = [dict(batch) for batch in islice(iter(data), _READ * samples)]
    known = stream(first, name="samples")
    for _ in known:
        pass
    return known
