import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantlab.data import stream
from quantlab.data.batch import Batch
from quantlab.errors import InputError, QuantlabError, UsageError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.averaging import Average  # noqa: E402
from quantlab.qat.callbacks import Callback, Progress  # noqa: E402
from quantlab.qat.distillation import Distillation, Objective, divergence, float_teacher  # noqa: E402
from quantlab.qat.fake_quant import FakeQuantize  # noqa: E402
from quantlab.qat.optimizers import optimizer_of, set_rates, share_of_peak  # noqa: E402
from quantlab.qat.train import objective_of, train  # noqa: E402
from quantlab.qat.train_options import Schedule, TrainOptions  # noqa: E402
from quantlab.qat.training_data import Held, Samples, held  # noqa: E402
from tests.qat.loops import accuracy, network, same_weights, samples  # noqa: E402

FAST = TrainOptions(epochs=8, batch=16, schedule=Schedule(rate=2e-2))


class Told(Callback):
    """Keeps what it is told, and stops when it is to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[str] = []
        self.told: list[Progress] = []
        self.stop_after = stop_after

    def on_start(self, module: nn.Module, steps: int, step: int) -> None:
        self.events.append(f"start {step} of {steps}")

    def on_step(self, module: nn.Module, progress: Progress) -> bool:
        self.told.append(progress)
        return progress.step == self.stop_after

    def on_evaluate(self, module: nn.Module, progress: Progress) -> None:
        self.events.append(f"evaluated {progress.step}")

    def on_end(self, module: nn.Module, progress: Progress) -> None:
        self.events.append(f"end {progress.step}")


def test_training_learns_what_rounding_spoilt() -> None:
    module = network()
    before = accuracy(module.eval())
    trained = train(module, samples(), options=replace(FAST, epochs=25), evaluate=accuracy)
    assert before < 0.6
    assert trained.metric is not None
    assert trained.metric == accuracy(module) > 0.8
    assert not module.training
    assert [moment.epoch for moment in trained.history] == list(range(25))
    assert trained.frame()["step"].tolist() == [6 * epoch for epoch in range(1, 26)]


@pytest.mark.parametrize("changed", [{}, {"ema": 0.9}, {"shuffle": False}, {"distillation": Distillation()}])
def test_the_same_seed_gives_the_same_weights(changed: dict[str, Any]) -> None:
    one, other, third = network(dropout=0.3), network(dropout=0.3), network(dropout=0.3)
    torch.manual_seed(1)
    train(one, samples(), options=replace(FAST, epochs=2, **changed))
    torch.manual_seed(2)
    train(other, samples(), options=replace(FAST, epochs=2, **changed))
    train(third, samples(), options=replace(FAST, epochs=2, seed=1, **changed))
    assert same_weights(one, other)
    assert not same_weights(one, third)


def test_the_callers_generator_is_left_alone() -> None:
    module = network(dropout=0.3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(module, samples(), options=replace(FAST, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_loop_of_ones_own_from_the_parts_gives_the_same_weights() -> None:
    ours, theirs = network(), network()
    options = replace(FAST, epochs=3, distillation=Distillation(), ema=0.9)
    train(ours, samples(), options=options)

    feed, objective = held(samples(), (), batch=16, seed=0, memory=1 << 20), objective_of(theirs, options)
    optimizer, average = optimizer_of(theirs, options.schedule), Average(theirs, 0.9)
    theirs.train()
    for step in range(18):
        batch = list(feed.epoch(step // 6))[step % 6]
        set_rates(optimizer, share_of_peak(step, 18, options.schedule))
        optimizer.zero_grad()
        torch.autograd.backward(objective(theirs(*batch.inputs), batch))
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        average.update(theirs)
    average.apply(theirs)
    assert same_weights(ours, theirs)


def test_a_users_own_plain_loop_trains_weights_and_scales() -> None:
    module = network()
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(20):
        for x, labels in samples():
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(module(x), labels))
            optimizer.step()
    after = module.state_dict()
    learned = [name for name in before if name.endswith(("log_ratio", "0.weight"))]
    assert len(learned) == 5
    assert all(not torch.equal(before[name], after[name]) for name in learned)
    assert accuracy(module.eval()) > 0.8


def test_scales_have_a_group_of_their_own_and_nothing_but_weights_decays() -> None:
    groups = optimizer_of(network(), Schedule(rate=0.1, scale_rate=0.2, weight_decay=0.3)).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.3), (0.1, 0.0), (0.2, 0.0)]
    assert [len(group["params"]) for group in groups] == [2, 4, 4]
    assert all(p.ndim >= 2 for p in groups[0]["params"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_optimizers_lower_the_loss(optimizer: Any) -> None:
    schedule = Schedule(optimizer, rate=5e-2, scale_rate=1e-3)
    trained = train(network(), samples(), options=replace(FAST, schedule=schedule))
    assert trained.history[-1].loss < 0.8 * trained.history[0].loss


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    shares = [share_of_peak(step, 104, Schedule(warmup=0.04, final=0.1)) for step in range(104)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[-1] == pytest.approx(0.1)
    assert shares[4 + 33] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 3)) / 2)
    assert share_of_peak(0, 1, Schedule()) == 1


def test_bfloat16_trains_float32_weights_and_scales() -> None:
    module = network()
    trained = train(module, samples(), options=replace(FAST, precision="bfloat16"))
    assert {value.dtype for name, value in module.state_dict().items() if "num" not in name} == {torch.float32}
    assert trained.history[-1].loss < trained.history[0].loss
    assert not same_weights(module, _trained(FAST))


def _trained(options: TrainOptions) -> nn.Module:
    return train(network(), samples(), options=options).module


def test_clipping_limits_a_step() -> None:
    free, tight = network(), network()
    sgd = Schedule("sgd", rate=1.0, warmup=0, clip=None)
    start = torch.cat([p.detach().flatten() for p in network().parameters()])
    moved = []
    for module, schedule in ((free, sgd), (tight, replace(sgd, clip=1e-4))):
        train(module, samples(), options=TrainOptions(steps=1, schedule=schedule))
        moved.append(float((torch.cat([p.detach().flatten() for p in module.parameters()]) - start).norm()))
    assert moved[0] > 0.01
    assert moved[1] < 2.1e-4  # Nesterov's first step is 1.9 times the gradient


def test_the_average_is_what_is_evaluated_and_kept() -> None:
    seen: list[Tensor] = []
    module = network()

    def evaluate(current: nn.Module) -> float:
        seen.append(current.get_parameter("0.weight").detach().clone())
        return 0.0

    train(module, samples(), options=replace(FAST, epochs=2, ema=0.95, keep="last"), evaluate=evaluate)
    plain = _trained(replace(FAST, epochs=2)).get_parameter("0.weight")
    assert torch.equal(module.get_parameter("0.weight"), seen[-1])
    assert not torch.equal(seen[-1], plain)


def test_an_average_weighs_as_its_formula_says() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average, expected = Average(module, 0.5), 0.0
    for step in range(1, 12):
        nn.init.constant_(module.weight, step)
        average.update(module)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied(module):
        assert float(module.weight.detach()) == pytest.approx(expected)
    assert float(module.weight.detach()) == 11


def test_kl_is_the_textbooks() -> None:
    own, aim, t = np.array([[1.0, 2.0, -1.0], [0, 0, 3]]), np.array([[0.5, 2.5, 0.0], [1, 1, 1]]), 3.0
    p, q = (np.exp(v / t) / np.exp(v / t).sum(1, keepdims=True) for v in (aim, own))
    expected = t * t * (p * np.log(p / q)).sum(1).mean()
    assert float(divergence(torch.tensor(own), torch.tensor(aim), t)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(torch.tensor(aim), torch.tensor(aim), t)) == pytest.approx(0, abs=1e-6)


def test_a_teacher_is_enough_where_there_are_no_labels() -> None:
    module, teacher = network(), network(seed=1).eval()
    x = torch.cat([inputs for inputs, _ in samples()])
    kept = copy.deepcopy(teacher)

    def apart() -> float:
        with torch.no_grad():
            return float((module.eval()(x) - teacher(x)).square().mean())

    before = apart()
    options = replace(FAST, distillation=Distillation(kl=0, mse=1))
    train(module, [inputs for inputs, _ in samples()], options=options, teacher=teacher)
    assert apart() < 0.3 * before
    assert same_weights(teacher, kept)


def test_a_teacher_without_weights_of_its_own_counts_by_default() -> None:
    inputs, labels, outputs = torch.tensor([[1.0, 2.0]]), torch.tensor([0]), torch.tensor([[3.0, -1.0]])
    expected = divergence(outputs, inputs, 2.0) + 0.5 * nn.functional.cross_entropy(outputs, labels)
    assert torch.isclose(Objective(None, nn.Identity())(outputs, Samples((inputs,), labels)), expected)


def test_it_stops_at_the_target_or_when_patience_ends() -> None:
    at_once = train(network(), samples(), options=replace(FAST, target=0.0), evaluate=accuracy)
    assert (at_once.ending, at_once.steps) == ("target", 6)
    tired = train(network(), samples(), options=replace(FAST, patience=2), evaluate=lambda _: 0.5)
    assert (tired.ending, tired.steps) == ("patience", 18)
    assert train(network(), samples(), options=FAST, evaluate=accuracy).ending == "steps"


def test_the_best_weights_are_kept_or_the_last() -> None:
    given = iter([0.1, 0.9, 0.2] * 2)
    seen: list[dict[str, Tensor]] = []

    def evaluate(module: nn.Module) -> float:
        seen.append(copy.deepcopy(module.state_dict()))
        return next(given)

    best = train(network(), samples(), options=replace(FAST, epochs=3), evaluate=evaluate)
    last = train(network(), samples(), options=replace(FAST, epochs=3, keep="last"), evaluate=evaluate)
    assert (best.metric, last.metric) == (0.9, 0.2)
    assert all(torch.equal(value, seen[1][name]) for name, value in best.module.state_dict().items())
    assert all(torch.equal(value, seen[5][name]) for name, value in last.module.state_dict().items())


def test_callbacks_hear_all_and_can_stop() -> None:
    told = Told(stop_after=8)
    trained = train(network(), samples(), options=FAST, evaluate=accuracy, callbacks=[told])
    assert told.events == ["start 0 of 48", "evaluated 6", "evaluated 8", "end 8"]
    assert (trained.ending, trained.steps, len(told.told)) == ("callback", 8, 8)
    assert told.told[0].metric is None
    assert told.told[-1].metric is not None
    assert all(progress.seconds_left is not None and progress.seconds_left > 0 for progress in told.told)


def test_batch_norms_are_frozen_when_it_is_time_and_stay_so() -> None:
    class Prepared:
        def __init__(self) -> None:
            self.module = network()
            self.at: list[dict[str, Tensor]] = []

        def freeze_batch_norm(self) -> None:
            self.module[1].eval()
            self.at.append(copy.deepcopy(self.module[1].state_dict()))

    prepared = Prepared()
    options = replace(FAST, epochs=4, freeze_batch_norm_at=0.5)
    train(prepared, samples(), options=options, evaluate=accuracy)
    assert [float(state["num_batches_tracked"]) for state in prepared.at] == [12]
    assert torch.equal(prepared.module[1].running_mean, prepared.at[0]["running_mean"])


def test_dropout_is_on_while_training_and_off_while_evaluating() -> None:
    modes: list[bool] = []

    def evaluate(module: nn.Module) -> float:
        modes.append(module.get_submodule("3").training)
        return 0.0

    class Watch(Callback):
        def on_step(self, module: nn.Module, progress: Progress) -> None:
            modes.append(module.get_submodule("3").training)

    train(network(), samples(), options=replace(FAST, epochs=1), evaluate=evaluate, callbacks=[Watch()])
    assert modes == [True] * 6 + [False]


def test_augmentation_changes_what_the_network_sees() -> None:
    def doubled(batch: Samples) -> Samples:
        return Samples((batch.inputs[0] * 2,), batch.labels)

    twice = [(2 * x, labels) for x, labels in samples()]
    augmented = train(network(), samples(), options=replace(FAST, epochs=1, augment=doubled)).module
    assert same_weights(augmented, train(network(), twice, options=replace(FAST, epochs=1)).module)


def read_only(x: Tensor) -> Any:
    array = x.numpy().copy()
    array.setflags(write=False)
    return array


FORMS: dict[str, Any] = {
    "numpy pairs": [(x.numpy(), y.numpy()) for x, y in samples()],
    "read-only and reversed arrays": [(read_only(x), np.flip(np.flip(y.numpy()).copy())) for x, y in samples()],
    "a tuple of inputs": [((x,), y) for x, y in samples()],
    "keyword arguments": [({"input": x}, y) for x, y in samples()],
    "a mapping with labels": [{"input": x, "labels": y} for x, y in samples()],
    "quantlab's batches": [Batch({"any": x.numpy()}, labels=y.numpy()) for x, y in samples()],
    "a stream": stream([Batch({"any": x.numpy()}, labels=y.numpy()) for x, y in samples()]),
    "a function": samples,
    "a loader": torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*(torch.cat(part) for part in zip(*samples(), strict=True))), batch_size=8
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_weights(form: str) -> None:
    options = replace(FAST, epochs=1)
    assert same_weights(train(network(), FORMS[form], options=options).module, _trained(options))


def test_a_loader_that_shuffles_is_streamed_the_same_way_each_time() -> None:
    rows = torch.utils.data.TensorDataset(*(torch.cat(part) for part in zip(*samples(), strict=True)))
    loader = torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True)
    options = replace(FAST, epochs=2, shuffle=False)
    one = train(network(), loader, options=options).module
    torch.rand(3)
    assert same_weights(one, train(network(), loader, options=options).module)


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    feed = Held(Samples((torch.arange(60.0).reshape(60, 1),)), 20, seed=3)
    orders = [torch.cat([batch.inputs[0] for batch in feed.epoch(number)]).flatten().tolist() for number in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(60))
    assert orders[0] == orders[2] != orders[1]


def test_inputs_are_ordered_as_the_network_has_them() -> None:
    found = Samples.of({"b": np.ones(2), "a": np.zeros(2)}, ("a", "b"))
    assert [each.sum().item() for each in found.inputs] == [0, 2]
    assert not found.names


def once() -> Iterator[tuple[Tensor, Tensor]]:
    yield from samples()


NAN = [(torch.full((4, 6), math.nan), torch.zeros(4, dtype=torch.long))]
UNLABELLED = [x for x, _ in samples()]


@pytest.mark.parametrize(
    ("data", "changed", "kind", "sentence"),
    [
        ([], {}, InputError, "no sample to train on"),
        ([], {"shuffle": False}, InputError, "no sample to train on"),
        (lambda: iter(()), {"shuffle": False, "steps": 3}, InputError, "no sample to train on"),
        (7, {}, UsageError, "Training needs an iterable"),
        (["text"], {}, InputError, "not str"),
        (NAN, {}, InputError, "inputs hold NaN or infinities"),
        (NAN, {"shuffle": False}, InputError, "inputs of step 1 of 8 hold NaN"),
        (UNLABELLED, {}, InputError, "no labels, and there is no teacher"),
        (UNLABELLED, {"shuffle": False}, InputError, "no labels, and there is no teacher"),
        ([(torch.zeros(4, 6), torch.zeros(3))], {}, InputError, "not as many labels"),
        ([(torch.zeros(4, 6), torch.zeros(4))], {}, InputError, "integer labels"),
        ([*samples(), (torch.zeros(4, 5), torch.zeros(4, dtype=torch.long))], {}, InputError, "differ in shape"),
        ([*samples(), torch.zeros(4, 6)], {}, InputError, "that others lack"),
        (samples(), {"memory": 100}, UsageError, "shuffle=False"),
        (once(), {"shuffle": False}, InputError, "read only once"),
        (samples(), {"target": 0.5}, UsageError, "needs `evaluate`"),
    ],
)
def test_data_that_cannot_train_are_refused_in_a_sentence(
    data: Any, changed: dict[str, Any], kind: type[QuantlabError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        train(network(), data, options=replace(FAST, **changed))


def test_a_loss_that_runs_away_says_what_to_do() -> None:
    def runs_away(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.mean() * math.inf

    with pytest.raises(QuantlabError, match=r"The loss is (nan|-?inf) in step 1 of 48: lower `rate`"):
        train(network(), samples(), options=FAST, loss=runs_away)


def test_a_teacher_with_other_outputs_is_refused() -> None:
    with pytest.raises(InputError, match=r"teacher's outputs are \[16, 2\], the network's \[16, 3\]"):
        train(network(), samples(), options=FAST, teacher=nn.Linear(6, 2))


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameter"):
        train(network().requires_grad_(False), samples(), options=FAST)
    with pytest.raises(UsageError, match="what `prepare` returns"):
        train("a file", samples(), options=FAST)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (lambda: Schedule("lion"), "adamw or sgd, not «lion»"),  # type: ignore[arg-type]
        (lambda: Schedule(rate=0), "greater than 0"),
        (lambda: Schedule(warmup=1), "shares from 0 to 1"),
        (lambda: Schedule(clip=0), "norm greater than 0"),
        (lambda: TrainOptions(precision="half"), "float32 or bfloat16"),  # type: ignore[arg-type]
        (lambda: TrainOptions(epochs=0), "`epochs` is a whole number"),
        (lambda: TrainOptions(batch=1.5), "`batch` is a whole number"),  # type: ignore[arg-type]
        (lambda: TrainOptions(ema=1.0), "inside 0 … 1"),
        (lambda: TrainOptions(freeze_batch_norm_at=2), "share of the steps"),
        (lambda: Distillation(temperature=0), "greater than 0"),
        (lambda: Distillation(kl=-1), "at least 0"),
        (lambda: Distillation(kl=0), "a weight above 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        options()


def test_the_start_of_a_copy_that_does_not_quantize_is_the_float_network() -> None:
    module = network().eval()
    teacher, x = float_teacher(module), samples()[0][0]
    for part in module.modules():
        if isinstance(part, FakeQuantize):
            part.enabled = False
    assert torch.equal(teacher(x), module(x))


def test_evaluation_at_ends_of_epochs_that_nobody_knows_is_refused() -> None:
    options = TrainOptions(steps=4, shuffle=False)
    with pytest.raises(UsageError, match="evaluate_every"):
        train(network(), lambda: iter(samples(8)), options=options, evaluate=lambda _: 0.0)
