"""One pass over both engines: every number against NumPy, whatever the batches, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.comparison import CompareOptions, Comparison, compare
from quantlab.comparison.statistics import PairedCounts, newcombe, wilson
from quantlab.comparison.tensors import TensorProbe
from quantlab.errors import InputError, StaleError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.numerics.error_sums import ErrorSums
from tests.comparison.networks import CLASSES, FEATURES, FIRST, SECOND, Constant, Network, Samples, samples

STEP = 0.5
BOTH = ("hidden", "logits")


@dataclass(frozen=True)
class Margin:
    """A user's metric, without labels: the distance of the two best logits."""

    name: str = "margin"
    higher_is_better: bool = True
    needs_labels: bool = False

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        best = np.sort(outputs["logits"], axis=1)
        return best[:, -1] - best[:, -2]


def probe(provenance: Provenance | None = None) -> TensorProbe:
    table = ScaleTable((Scale("hidden", (0.0625,)),), provenance)
    return TensorProbe(Network(0.0, BOTH), Network(STEP, BOTH), table=table)


def result(data: Samples | None = None, **options: Any) -> Comparison:
    given = samples() if data is None else data
    metrics = (TopK(1), TopK(2), Margin())
    return compare(Network(), Network(STEP), given, metrics=metrics, options=CompareOptions(**options))


def logits(step: float, x: AnyArray) -> AnyArray:
    one, two = (np.rint(w / step) * step if step else w for w in (FIRST, SECOND))
    return np.maximum(x.astype(np.float64) @ one, 0) @ two


def test_every_number_is_what_numpy_says() -> None:
    data = samples()
    assert data.labels is not None
    exact, got = logits(0, data.x), logits(STEP, data.x)
    one, two = np.argmax(exact, axis=1), np.argmax(got, axis=1)
    found = result(data)
    top1 = found.metrics[0]
    right, still = one == data.labels, two == data.labels
    counts = [int(np.sum(which)) for which in (right & still, right & ~still, ~right & still, ~right & ~still)]
    assert (found.samples, top1.name) == (40, "top-1")
    assert (top1.fp32, top1.int8) == (right.mean(), still.mean())
    assert top1.interval == newcombe(PairedCounts(*counts)).scaled(100)
    assert (top1.worse, top1.better) == (counts[1], counts[2])
    assert found.agreement.score == np.mean(one == two)
    assert found.agreement_interval == wilson(int(np.sum(one == two)), 40)
    assert [flip.index for flip in found.flips] == np.flatnonzero(one != two).tolist()
    assert found.outputs[0].sqnr_db == pytest.approx(ErrorSums.of(exact, got).sqnr_db)
    assert found.metrics[2].drop == pytest.approx(
        np.mean(Margin().per_sample({"logits": exact}, 0)) - found.metrics[2].int8
    )


def test_a_flip_names_its_sample() -> None:
    data = samples()
    assert data.labels is not None
    found = result(data)
    assert found.flips
    for flip in found.flips:
        assert flip.name == f"sample {flip.index}.png"
        assert flip.label == data.labels[flip.index]
        assert (flip.fp32, flip.int8) == tuple(
            int(np.argmax(logits(step, data.x[flip.index][None]))) for step in (0, STEP)
        )


@pytest.mark.parametrize("batch", [1, 3, 16, 40])
def test_the_batch_size_changes_no_bit(batch: int) -> None:
    assert result(samples(batch=batch), probe=probe()) == result(samples(batch=7), probe=probe())


def test_the_samples_order_changes_no_score() -> None:
    data = samples()
    assert data.labels is not None
    order = np.random.default_rng(5).permutation(40)
    one, two = result(data, probe=probe()), result(Samples(data.x[order], data.labels[order]), probe=probe())
    for field in ("samples", "metrics", "outputs", "tensors", "nan", "data"):
        assert getattr(one, field) == getattr(two, field), field
    assert one.agreement.score == two.agreement.score


def test_a_network_agrees_with_itself() -> None:
    engine = Network()
    found = compare(engine, engine, samples())
    assert [(score.drop, score.p_value) for score in found.metrics] == [(0.0, 1.0), (0.0, 1.0)]
    assert (found.agreement.score, found.flips) == (1.0, ())
    assert found.outputs[0].sqnr_db == np.inf
    assert found.metrics[0].interval.low < 0 < found.metrics[0].interval.high


def test_inner_tensors_are_measured_in_the_same_pass() -> None:
    found = result(probe=probe())
    assert [error.tensor for error in found.tensors] == ["hidden", "logits"]
    assert found.tensors[1].accumulated == found.outputs[0].accumulated
    assert found.tensors[0].own is not None
    assert found.tensors[1].own is None


def test_both_backends_are_named() -> None:
    found = result()
    assert (found.backends.fp32, found.backends.int8) == (Network().backend, Network(STEP).backend)


def test_without_labels_agreement_and_errors_remain() -> None:
    found = compare(Network(), Network(STEP), Samples(samples().x), metrics=())
    assert (found.metrics, found.agreement.samples, found.flips[0].label) == ((), 40, None)
    assert found.agreement.score == result().agreement.score
    assert found.outputs == result().outputs


def test_labels_that_a_metric_needs_must_be_there() -> None:
    with pytest.raises(InputError, match=r"no labels, which top-1, top-5 need: give labels, or metrics=\(\)"):
        compare(Network(), Network(), Samples(samples().x))


def batches(data: Samples) -> list[dict[str, AnyArray]]:
    return [dict(batch) for batch in data]


def test_a_plain_list_of_batches_takes_its_labels_from_the_options() -> None:
    data = samples()
    found = compare(Network(), Network(STEP), batches(data), options=CompareOptions(labels=data.labels))
    assert found.metrics == compare(Network(), Network(STEP), data).metrics
    assert found.data.digest == data.identity.digest


def test_a_generator_is_read_once() -> None:
    data = samples()

    def rows() -> Iterator[dict[str, AnyArray]]:
        yield from batches(data)

    assert compare(Network(), Network(STEP), rows(), metrics=()).samples == 40


@pytest.mark.parametrize("count", [39, 41])
@pytest.mark.parametrize("known", [True, False], ids=["data set", "list"])
def test_another_number_of_labels_is_refused(count: int, known: bool) -> None:
    data = samples()
    given = data if known else batches(data)
    with pytest.raises(InputError, match=f"({count}.*labels|labels.*{count}).*samples: give one a sample"):
        compare(Network(), Network(), given, options=CompareOptions(labels=np.zeros(count, np.int64)))


def test_a_label_outside_the_classes_is_refused_with_its_place() -> None:
    data = samples()
    labels = np.zeros(40, np.int64)
    labels[16] = CLASSES
    sentence = r"batch from sample 14 \(«sample 14.png»\) on: Sample 2 of the batch has the label 4, .* 0 … 3"
    with pytest.raises(InputError, match=sentence):
        compare(Network(), Network(), Samples(data.x, labels))


def test_no_samples_are_refused() -> None:
    with pytest.raises(InputError, match="the data hold no sample"):
        compare(Network(), Network(), Samples(np.zeros((0, FEATURES), np.float32), np.zeros(0, np.int64)))


def test_batches_without_samples_are_skipped() -> None:
    empty = {"x": np.zeros((0, FEATURES), np.float32)}
    found = compare(Network(), Network(), [empty, *batches(samples()), empty], metrics=())
    assert found.samples == 40


def test_networks_with_other_outputs_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"different outputs, \['logits'\] for FP32 and \['hidden', 'logits'\] for INT8"
    ):
        compare(Network(), Network(outputs=BOTH), samples())


def test_several_outputs_need_the_scores_named() -> None:
    with pytest.raises(InputError, match="cannot be told from «hidden»"):
        compare(Network(outputs=BOTH), Network(STEP, BOTH), samples())
    found = compare(Network(outputs=BOTH), Network(STEP, BOTH), samples(), metrics=[TopK(1, output="logits")])
    assert found.agreement == result().agreement
    assert [error.tensor for error in found.outputs] == ["hidden", "logits"]


def test_outputs_that_choose_no_class_leave_agreement_out() -> None:
    found = compare(Network(outputs=BOTH), Network(STEP, BOTH), samples(), metrics=())
    assert (found.agreement.samples, found.flips) == (0, ())
    assert (found.agreement_interval.low, found.agreement_interval.high) == (0.0, 1.0)


def test_nan_logits_are_wrong_and_counted() -> None:
    data = Samples(np.zeros((3, FEATURES), np.float32), np.array([1, 1, 0]), batch=2)
    good, bad = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [np.nan, 1.0], [1.0, 0.0]]
    found = compare(Constant(good), Constant(bad), data, metrics=[TopK(1)])
    assert (found.nan.fp32, found.nan.int8) == (0, 1)
    assert (found.metrics[0].fp32, found.metrics[0].int8) == (1.0, 2 / 3)
    assert [(flip.index, flip.int8) for flip in found.flips] == [(1, -1)]
    assert (found.outputs[0].left_out, found.outputs[0].sqnr_db) == (1, np.inf)


def test_a_metric_that_forgets_samples_is_refused() -> None:
    class Short(Margin):
        def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
            return super().per_sample(outputs, labels)[1:]

    with pytest.raises(InputError, match=r"batch from sample 0 .*«margin» gives 6 values for 7 samples"):
        compare(Network(), Network(), samples(), metrics=[Short()])


def test_progress_tells_samples_and_total() -> None:
    seen: list[tuple[int, int | None]] = []
    options = CompareOptions(progress=lambda done, total: seen.append((done, total)))
    compare(Network(), Network(), samples(20), options=options)
    assert seen == [(7, 20), (14, 20), (20, 20)]
    seen.clear()
    compare(Network(), Network(), batches(samples(20)), metrics=(), options=options)
    assert seen == [(7, None), (14, None), (20, None)]


def chosen_on(data: Samples, name: str = "calibration") -> DataIdentity:
    return replace(data.identity, name=name)


def test_a_final_score_on_samples_that_chose_is_refused() -> None:
    data = samples()
    seen = Samples(np.concatenate([data.x[:4], samples(60, seed=2).x]))
    with pytest.raises(InputError, match=r"«evaluation» was used .* shares samples with «calibration», about 10% of"):
        compare(Network(), Network(), data, chosen_on=[chosen_on(seen)])


def test_a_stream_that_chose_is_refused_once_it_is_known() -> None:
    data = samples()
    with pytest.raises(InputError, match="was used to choose the scales"):
        compare(Network(), Network(), batches(data), metrics=(), chosen_on=[chosen_on(data)])


def test_a_set_that_chose_may_be_scored_if_that_is_not_final() -> None:
    data = samples()
    found = compare(Network(), Network(), data, chosen_on=[chosen_on(data)], options=CompareOptions(final=False))
    assert (found.final, found.chosen_on) == (False, (chosen_on(data),))
    assert found.doubt == "for choosing only"


def test_a_set_that_had_no_say_gives_a_final_score() -> None:
    found = compare(Network(), Network(), samples(), chosen_on=[chosen_on(samples(seed=2))])
    assert (found.final, found.doubt) == (True, "")


def test_a_score_is_not_final_where_nobody_knows_what_chose_the_scales() -> None:
    found = compare(Network(), Network(), samples())
    assert (found.final, found.doubt) == (False, "the model does not tell which data chose its scales")
    assert "not final: the model does not tell which data chose its scales" in found._repr_html_()


def test_the_int8_engine_tells_what_chose_its_scales() -> None:
    data, other = samples(), chosen_on(samples(seed=2))
    found = compare(Network(), Network(chosen_on=(other,)), data)
    assert (found.final, found.chosen_on) == (True, (other,))
    with pytest.raises(InputError, match="was used to choose the scales"):
        compare(Network(), Network(chosen_on=(chosen_on(data),)), data, chosen_on=[other])


@pytest.mark.parametrize("start", range(0, 2000, 250))
def test_a_few_calibration_samples_among_the_evaluation_set_are_seen(start: int) -> None:
    calibration = samples(2000, seed=2)
    data = Samples(np.concatenate([samples(60).x, calibration.x[start : start + 1]]))
    with pytest.raises(InputError, match=r"about 1\.64% of the smaller set"):
        compare(Network(), Network(chosen_on=(chosen_on(calibration),)), data, metrics=())


@pytest.mark.parametrize(("fp32", "int8"), [(4, 4), (4, "n"), ("n", 3), (1, 1), (64, 64), (4, 3)])
@pytest.mark.parametrize("batch", [4, 7, 40])
def test_a_fixed_batch_size_is_filled_up_and_changes_no_bit(fp32: int | str, int8: int | str, batch: int) -> None:
    shown = TensorProbe(Network(0.0, BOTH, rows=fp32), Network(STEP, BOTH, rows=int8), table=probe().table, batch=5)
    data = samples(10, batch=batch)
    engines = Network(rows=fp32), Network(STEP, rows=int8)
    metrics = (TopK(1), TopK(2), Margin())
    found = compare(*engines, data, metrics=metrics, options=CompareOptions(probe=shown))
    assert found == result(samples(10), probe=probe())


def test_an_output_that_mixes_the_samples_of_a_fixed_batch_is_refused_where_it_was_filled_up() -> None:
    class Mean(Network):
        def run(self, batch: Tensors) -> Any:
            return {"logits": super().run(batch)["logits"].mean(axis=0)}

    assert compare(Mean(rows=5), Mean(rows=5), samples(20, batch=5), metrics=()).samples == 20
    with pytest.raises(InputError, match=r"«logits» \[4\] mixes the 5 samples .* give a multiple of 5 samples"):
        compare(Mean(rows=5), Mean(rows=5), samples(19, batch=5), metrics=())


def test_the_probes_table_tells_what_chose_it() -> None:
    data = samples()
    provenance = Provenance("sha256:00", "net.onnx", (chosen_on(data),), {}, "log-linear")
    with pytest.raises(InputError, match="was used to choose"):
        result(data, probe=probe(provenance))


def test_random_numbers_give_no_final_score() -> None:
    data = samples()
    found = result(Samples(data.x, data.labels, random=True))
    assert (found.random, found.final, found.doubt) == (True, False, "random numbers, no data")


def test_errors_of_the_engine_are_passed_on() -> None:
    class Broken(Network):
        def run(self, batch: Tensors) -> Any:
            raise StaleError("the model has changed")

    with pytest.raises(StaleError, match="the model has changed"):
        compare(Network(), Broken(), samples())
