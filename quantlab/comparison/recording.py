"""What an engine answered, kept: to be compared later, on a machine that could not run it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.comparison.labelled import LabelledBatches
from quantlab.data.batch import Batch, Dataset
from quantlab.data.fingerprint import hash_arrays
from quantlab.engines.engine import Engine, TensorSpec, check_batch
from quantlab.errors import InputError
from quantlab.graph.derive import Derivation
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.numerics.markup import card, table


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The outputs of one engine, a row a sample.

    Attributes
    ----------
    inputs
        What the engine takes.
    outputs
        Rows by output, in the order in which the samples came; of the engine's type, or rounded to a smaller one.
    keys
        A hash of each sample's inputs, as the engine got them.
    model_digest, model_name, backend, chosen_on
        The engine's.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, AnyArray]
    keys: tuple[bytes, ...]
    model_digest: str = ""
    model_name: str = ""
    backend: str = ""
    chosen_on: tuple[DataIdentity, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def _repr_html_(self) -> str:
        rows = ((name, str(values.dtype), list(values.shape)) for name, values in self.outputs.items())
        facts = {"samples": len(self), "by": self.backend}
        return card("Recording", facts, name=self.model_name, more=table(("output", "type", "shape"), rows))

    def engine(self) -> "RecordedEngine":
        """Return an engine that answers from the recording."""
        return RecordedEngine(self)


def record(engine: Engine, data: Dataset | Iterable[Tensors]) -> Recording:
    """Run an engine over the samples and keep every answer; all rows are in memory.

    Raises
    ------
    InputError
        When the engine refuses a batch, an output has no row a sample, or there is no sample.
    """
    rows: dict[str, list[AnyArray]] = {name: [] for name in engine.outputs}
    keys: list[bytes] = []
    for batch, _ in cut(LabelledBatches(data, None).batches(engine.inputs), fixed_rows(engine)):
        for name, values in run_filled(engine, batch).items():
            if values.shape[:1] != (batch.samples,):
                raise InputError(f"Output «{name}» {list(values.shape)} has no row a sample, so it cannot be recorded.")
            rows[name].append(np.array(values))
        keys += _keys(batch)
    if not keys:
        raise InputError("There is nothing to record: the data hold no sample.")
    outputs = {name: np.concatenate(parts) for name, parts in rows.items()}
    told = tuple(getattr(engine, "chosen_on", ()))
    return Recording(
        dict(engine.inputs), outputs, tuple(keys), engine.model_digest, engine.model_name, engine.backend, told
    )


class RecordedEngine:
    """Answers with what was recorded, sample by sample, whatever their order and batches; an Engine."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._rows = {key: row for row, key in enumerate(recording.keys)}
        self.inputs = dict(recording.inputs)
        self.outputs = {
            name: TensorSpec(name, values.dtype, (None, *values.shape[1:]))
            for name, values in recording.outputs.items()
        }
        self.derivations = dict[str, Derivation]()
        self.chosen_on = recording.chosen_on
        self.model_digest, self.model_name = recording.model_digest, recording.model_name
        self.backend = recording.backend

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Return the recorded rows of these samples.

        Raises
        ------
        InputError
            When a sample was not recorded, or the batch does not fit the inputs.
        """
        keys = _keys(Batch(check_batch(self.inputs, batch)))
        missing = [i for i, key in enumerate(keys) if key not in self._rows]
        if missing:
            raise InputError(
                f"Sample {missing[0]} of the batch was not recorded: «{self.model_name}» answers for the "
                f"{len(self._recording)} samples of its recording alone, preprocessed in the same way."
            )
        order = [self._rows[key] for key in keys]
        return {name: self._recording.outputs[name][order] for name in self.outputs}

    def restrict(self, outputs: tuple[str, ...]) -> "RecordedEngine":
        """Return an engine that answers with these outputs only.

        Raises
        ------
        InputError
            When one of them was not recorded.
        """
        unknown = sorted(set(outputs) - set(self.outputs))
        if unknown:
            raise InputError(f"The recording has no output «{unknown[0]}»; it has {', '.join(self.outputs)}.")
        part = RecordedEngine(self._recording)
        part.outputs = {name: self.outputs[name] for name in outputs}
        return part

    exposing = restrict

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _keys(batch: Batch) -> list[bytes]:
    arrays: dict[str, Any] = dict(batch)
    if batch.rows is None:
        return [hash_arrays(arrays)]
    return [hash_arrays({name: values[row] for name, values in arrays.items()}) for row in range(batch.rows)]
