"""A candidate: what it becomes, what it is measured as, and what it remembers of the user's model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.collector.collect import collect
from quantlab.errors import StaleError, UsageError
from quantlab.graph.biases import biases, with_biases
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.tuning.candidate import PREPARED, Candidate
from tests.networks import image_batch, small_cnn
from tests.tuning.nets import Rows, candidate_of, int8_outputs

IMAGES = {"image": image_batch(24)}


@pytest.fixture
def candidate() -> Candidate:
    """With scales that name their model."""
    model = load_model(small_cnn())
    with engines.ort(model, expose="quantizable", threads=1) as engine:
        return Candidate(model, calibrate(collect(engine, Rows(IMAGES))))


def shifted(model: Model, by: float) -> Model:
    """Return the normalised model with other biases."""
    plain = normalise(model).model
    found = biases(plain).found
    return with_biases(plain, {name: bias.value + np.float32(by) for name, bias in found.items()})


def notes(model: Model) -> list[str]:
    return [entry.value for entry in model.proto.metadata_props if entry.key == PREPARED]


@pytest.mark.parametrize("target", ["tensorrt", "ort"])
def test_it_is_measured_as_its_target_computes(target: str) -> None:
    made = candidate_of(small_cnn(), IMAGES, target)
    with made.engine(threads=1) as engine:
        found = engine.run(IMAGES)["logits"]
    expected = int8_outputs(made.model, made.table, IMAGES, target)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_corrections_start_from_the_exact_model_again_and_again(candidate: Candidate) -> None:
    once = candidate.corrected(shifted(candidate.start, 0.5), candidate.table)
    twice = once.corrected(shifted(once.start, 0.25), once.table)
    assert once.start is twice.start is candidate.model
    assert twice.exact is candidate.model
    assert notes(twice.model) == notes(once.model)
    assert len(notes(twice.model)) == 1
    assert candidate.model.digest in notes(twice.model)[0]


def test_a_model_that_computes_the_same_is_a_new_start(candidate: Candidate) -> None:
    other = candidate.with_exact(normalise(candidate.model).model, candidate.table)
    assert other.exact is None
    assert other.start is other.model
    assert candidate.model.digest in notes(other.model)[0]


def test_the_table_names_the_model_that_it_goes_with(candidate: Candidate) -> None:
    made = candidate.corrected(shifted(candidate.model, 0.5), candidate.table)
    assert made.quantized().quantized == candidate.quantized().quantized
    with pytest.raises(StaleError):
        made.with_table(candidate.table).quantized()


def test_operators_stay_float_by_name(candidate: Candidate) -> None:
    made = candidate.with_floats(("n4",)).quantized()
    assert "n4" in made.floats
    assert len(made.weights) == len(candidate.quantized().weights) - 1
    onnx.checker.check_model(made.model.proto)
    with pytest.raises(UsageError, match="«n9» is no weighted operator"):
        candidate.with_floats(("n9",)).quantized()
