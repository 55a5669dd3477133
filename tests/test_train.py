"""The training loop against PyTorch's own schedulers and a loop written out flat."""

import copy
import math
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from ccfs_lib import networks
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.scores import Forgetting
from ccfs_lib.step import kd_loss
from ccfs_lib.train import accuracy, fit, predict

HARD = Recipe(epochs=3, warmup_epochs=1, loss="hard", augment="crop", pad=1, flip=False)


def convnet(seed=0):
    return networks.build("convnet-8-8", 10, 8, seed=seed)


@pytest.fixture(scope="module")
def some(digits):
    """150 digits to train on."""
    return digits[0].subset(torch.arange(0, 1350, 9))


def state(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_kd_loss_is_its_formula():
    random = np.random.default_rng(0)
    s, t = random.normal(0, 9, (2, 6, 5))
    for temperature in (1.0, 3.5, 20.0):
        total = 0.0
        for i in range(6):
            p = np.exp(t[i] / temperature) / np.exp(t[i] / temperature).sum()
            q = np.exp(s[i] / temperature) / np.exp(s[i] / temperature).sum()
            total += sum(p[c] * math.log(p[c] / q[c]) for c in range(5))
        ours = kd_loss(torch.tensor(s), torch.tensor(t), temperature).item()
        assert ours == pytest.approx(temperature**2 * total / 6, rel=1e-10)


@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "told"),
    [
        (torch.zeros(4, 3), torch.zeros(1, 3), 4.0, r"teacher holds logits \(1, 3\)"),
        (torch.zeros(4, 3), torch.zeros(4, 1), 4.0, r"teacher holds logits \(4, 1\)"),
        (torch.zeros(3), torch.zeros(3), 4.0, "student holds torch.float32"),
        (torch.zeros(4, 3), torch.zeros(4, 3).long(), 4.0, "teacher holds torch.int64"),
        *(
            (torch.zeros(4, 3), torch.zeros(4, 3), t, "temperature is")
            for t in (0, -1.0, math.nan, math.inf, torch.tensor(4.0))
        ),
    ],
)
def test_kd_loss_refuses_other_logits_and_temperatures(
    student, teacher, temperature, told
):
    with pytest.raises(InputError, match=f"^{told}"):
        kd_loss(student, teacher, temperature)


def test_kd_loss_gradient():
    torch.manual_seed(0)
    s = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: kd_loss(x, t, 4.0), s)
    (gradient,) = torch.autograd.grad(kd_loss(s, t, 4.0), s)
    # By hand: T (softmax(s / T) - softmax(t / T)) / N. So T^2 keeps steps comparable.
    expected = 4.0 * ((s / 4).softmax(1) - (t / 4).softmax(1)) / 3
    assert torch.allclose(gradient, expected, atol=1e-12)
    assert kd_loss(t + 5, t, 4.0).abs() < 1e-12  # a shift changes no probability


def torch_rates(recipe):
    """lr of each epoch as the authors' warm-up and cosine give it."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], recipe.lr)
    rise = LinearLR(optimiser, recipe.warmup_start, total_iters=recipe.warmup_epochs)
    left = recipe.epochs - recipe.warmup_epochs
    if recipe.final_lr:  # SelMatch has an epoch more than its scheduler, at the end
        left -= 1
    fall = CosineAnnealingLR(optimiser, left, recipe.lr * recipe.final_lr)
    both = SequentialLR(optimiser, [rise, fall], [recipe.warmup_epochs])
    rates = []
    for _ in range(recipe.epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both.step()
    return rates


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 500},
        {"epochs": 30},
        {"epochs": 100, "lr": 0.2},
        {"epochs": 40, "warmup_epochs": 3, "warmup_start": 0.2, "final_lr": 0.01},
    ],
)
def test_rates_equal_torchs_schedulers(changes):
    recipe = Recipe(**changes)
    ours = [recipe.lr_at(epoch) for epoch in range(recipe.epochs)]
    assert ours == pytest.approx(torch_rates(recipe), rel=1e-6, abs=1e-9)


def test_rates_without_warmup_and_with_nothing_else():
    plain = Recipe(epochs=10, warmup_epochs=0)
    fall = [0.05 * (1 + math.cos(math.pi * e / 10)) for e in range(10)]
    assert [plain.lr_at(e) for e in range(10)] == pytest.approx(fall)
    short = Recipe(epochs=2)  # all warm-up: still finite and rising
    assert 0 < short.lr_at(0) < short.lr_at(1) < short.lr


@pytest.mark.parametrize(
    ("epochs", "count"), [(500, 99), (250, 49), (200, 39), (100, 19), (1, 1)]
)
def test_the_last_fifth_is_tested(epochs, count):
    tested = [e for e in range(epochs) if Recipe(epochs=epochs).tests_at(e)]
    assert tested == list(range(epochs - count, epochs))
    last = [e for e in range(epochs) if Recipe(epochs=epochs, tail=0.0).tests_at(e)]
    assert last == [epochs - 1]


@pytest.mark.parametrize("loss", ["hard", "kd"])
def test_equals_a_loop_written_out(some, digits_teacher, loss):
    # One batch holds everything and nothing is augmented, so no random number matters.
    recipe = Recipe(
        epochs=8,
        batch_size=1000,
        loss=loss,
        lr=0.05,
        warmup_epochs=3,
        temperature=3.0,
        weight_decay=0.01,
        augment="none",
        flip=False,
    )
    ours, theirs = convnet(), convnet()
    done = fit(ours, some, recipe, seed=0, teacher=digits_teacher)
    x, losses = some.images.float() / 255, []
    decay = {"momentum": 0.9, "weight_decay": 0.01}
    optimiser = torch.optim.SGD(theirs.parameters(), 0.05, **decay)
    with torch.no_grad():
        soft = (digits_teacher(x) / 3).softmax(1)
    for rate in torch_rates(recipe):
        optimiser.param_groups[0]["lr"] = rate
        logits = theirs.train()(x)
        value = nn.functional.cross_entropy(logits, some.labels)
        if loss == "kd":
            value = 9 * (soft * (soft.log() - (logits / 3).log_softmax(1))).sum(1)
            value = value.mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert done.losses == pytest.approx(losses, rel=1e-3)
    for name, weight in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], weight, atol=1e-3), name


def test_learns_the_digits(digits):
    recipe = Recipe(epochs=8, warmup_epochs=1, loss="hard", augment="crop", pad=1)
    done = fit(convnet(), digits[0], recipe, seed=0, test=digits[1])
    assert done.last > 80 and done.losses[-1] < 0.5 * done.losses[0]
    assert done.images == 8 * len(digits[0]) and done.seconds > 0
    assert not done.network.training


def test_a_student_learns_from_the_teacher_alone(digits, digits_teacher):
    # Labels are shuffled: whatever is learned, the teacher has said.
    train, test = digits
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    liar = train.subset(torch.arange(len(train)))
    object.__setattr__(liar, "labels", train.labels[order])
    recipe = Recipe(epochs=6, warmup_epochs=1, crop_scale=(0.5, 1.0), flip=False)
    done = fit(convnet(), liar, recipe, seed=0, teacher=digits_teacher, test=test)
    assert done.last > 70


@pytest.mark.parametrize("kind", ["rrc", "crop"])
def test_a_seed_gives_the_same_bits_and_another_seed_others(some, digits_teacher, kind):
    recipe = Recipe(epochs=2, augment=kind, warmup_epochs=1)
    runs = []
    for seed in (5, 5, 6):
        torch.rand(3)  # the global generator has no say
        done = fit(convnet(), some, recipe, seed=seed, teacher=digits_teacher)
        runs.append((done.losses, state(done.network)))
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0] and not same(runs[0][1], runs[2][1])


def test_kd_needs_a_teacher(some):
    network = convnet()
    before = state(network)
    with pytest.raises(InputError, match=r"^teacher is None"):
        fit(network, some, Recipe(epochs=1), seed=0)
    assert same(before, network.state_dict())


@pytest.mark.parametrize("name", ["train", "test"])
def test_empty_sets_are_refused(some, name):
    sets = {"train": some, "test": some, name: some.subset([])}
    with pytest.raises(InputError, match=f"^{name} holds no images"):
        fit(convnet(), recipe=HARD, seed=0, **sets)


def test_the_teacher_is_only_asked(some, digits_teacher):
    teacher = copy.deepcopy(digits_teacher).train()  # as a careless caller hands it in
    before = state(teacher)
    fit(convnet(), some, Recipe(epochs=2), seed=0, teacher=teacher)
    assert same(before, teacher.state_dict())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


class Breaks(nn.Module):
    """A network whose answers turn into nan after `good` batches."""

    def __init__(self, good):
        super().__init__()
        self.body, self.good = nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), good

    def forward(self, x):
        self.good -= 1
        return self.body(x) * (1.0 if self.good >= 0 else math.nan)


@pytest.mark.parametrize(("good", "epoch"), [(0, 1), (3, 2), (8, 3)])
def test_a_loss_that_is_not_finite_stops_with_its_epoch(some, good, epoch):
    recipe = Recipe(epochs=5, loss="hard", batch_size=50, augment="none")
    with pytest.raises(FloatingPointError, match=rf"in epoch {epoch};.* lr"):
        fit(Breaks(good), some, recipe, seed=0)


def test_a_rate_far_too_high_stops(some):
    recipe = Recipe(epochs=5, loss="hard", lr=1e20, warmup_epochs=0)
    with pytest.raises(FloatingPointError, match="lr than 1e"):
        fit(convnet(), some, recipe, seed=0)


def test_watch_sees_every_image_once_an_epoch(some):
    visits, orders = [], []

    def watch(indices, logits):
        assert logits.shape == (len(indices), 10) and not logits.requires_grad
        visits.extend(indices.tolist())
        orders.append(len(indices))

    fit(convnet(), some, HARD, seed=0, watch=watch)
    assert orders == [64, 64, 22] * 3  # the last batch is not dropped
    epochs = [visits[i : i + 150] for i in (0, 150, 300)]
    assert all(sorted(epoch) == list(range(150)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_watch_is_told_the_answers_to_those_images(some):
    answers = {}

    def watch(indices, logits):
        answers.update(zip(indices.tolist(), logits, strict=True))

    # One batch, first epoch: the answers of the untrained network in training mode.
    recipe = Recipe(epochs=1, loss="hard", batch_size=150, augment="none", flip=False)
    fit(convnet(), some, recipe, seed=3, watch=watch)
    with torch.no_grad():
        expected = convnet().train()(some.images.float() / 255)
    for i in range(150):
        assert torch.allclose(answers[i], expected[i], atol=1e-4)


def test_bf16_is_close_to_fp32_but_is_not_it(some, digits_teacher):
    losses = {}
    for precision in ("fp32", "bf16"):
        recipe = Recipe(epochs=3, precision=precision, crop_scale=(0.5, 1.0))
        network = convnet()
        done = fit(network, some, recipe, seed=0, teacher=digits_teacher)
        losses[precision] = done.losses
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.03)
    assert losses["bf16"] != losses["fp32"]


def test_last_best_and_curve(digits, some):
    recipe = Recipe(epochs=10, loss="hard", augment="none", tail=0.5, warmup_epochs=1)
    done = fit(convnet(), some, recipe, seed=0, test=digits[1])
    assert list(done.curve) == [6, 7, 8, 9]
    assert done.last == done.curve[9] == accuracy(done.network, digits[1])
    assert done.best == max(done.curve.values())
    untested = fit(convnet(), some, HARD, seed=0)
    assert math.isnan(untested.last) and math.isnan(untested.best)
    assert untested.curve == {} and not untested.network.training


def test_testing_does_not_change_the_training(digits, some):
    often = replace(HARD, tail=1.0)
    runs = [fit(convnet(), some, often, seed=0, test=t) for t in (None, digits[1])]
    assert list(runs[1].curve) == [1, 2]
    assert same(state(runs[0].network), state(runs[1].network))


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["rrc", "crop"])
@pytest.mark.parametrize("batches", [1, 4, 8, 11])
def test_a_killed_training_continues_with_the_same_bits(
    digits, some, digits_teacher, tmp_path, kind, batches
):
    recipe = Recipe(epochs=4, augment=kind, tail=0.8, warmup_epochs=1)
    how = {"seed": 2, "teacher": digits_teacher, "test": digits[1]}
    whole_events = Forgetting(some.labels)
    whole = fit(convnet(), some, recipe, watch=whole_events, **how)
    events, visits = Forgetting(some.labels), []

    class Watch:
        state, restore = events.state, events.restore

        def __call__(self, indices, logits):
            visits.append(len(indices))
            if len(visits) == batches + 1:
                raise Stop
            events(indices, logits)

    for _ in range(2):  # the first attempt is stopped within some epoch
        try:
            point = Checkpoint(tmp_path / "c", "mine", every=0)
            done = fit(convnet(), some, recipe, watch=Watch(), checkpoint=point, **how)
        except Stop:
            events.__init__(some.labels)  # memory is lost, the file is not
    assert len(visits) == 12 + 1 + batches % 3  # 3 batches an epoch: no more repeated
    assert (done.losses, done.curve) == (whole.losses, whole.curve)
    assert (done.last, done.best, done.images) == (whole.last, whole.best, whole.images)
    assert same(state(done.network), state(whole.network))
    for name, counted in whole_events.state().items():
        assert torch.equal(counted, events.state()[name])
    assert not (tmp_path / "c").exists()  # a finished training leaves none


def test_time_is_up_at_an_epochs_end_and_the_rest_comes_later(some, tmp_path):
    whole, attempts = fit(convnet(), some, HARD, seed=0), 0
    while True:
        attempts += 1
        point = Checkpoint(tmp_path, "mine", deadline=time.monotonic())
        try:
            done = fit(convnet(), some, HARD, seed=0, checkpoint=point)
            break
        except TimeUp as stop:
            assert "\n" not in str(stop)
    assert attempts == 3  # an epoch each, the last one is the end
    assert done.losses == whole.losses
    assert same(state(done.network), state(whole.network))


def stopped(some, folder, epochs):
    """A folder with the checkpoints of so many epochs."""
    for _ in range(epochs):
        point = Checkpoint(folder, "mine", deadline=time.monotonic())
        with pytest.raises(TimeUp):
            fit(convnet(), some, HARD, seed=0, checkpoint=point)


def test_a_damaged_checkpoint_costs_a_step_back_not_the_run(some, tmp_path):
    whole = fit(convnet(), some, HARD, seed=0)
    for cut in (0, 100, -1):
        stopped(some, tmp_path, 2)
        last = tmp_path / "last.safetensors"
        raw = bytearray(last.read_bytes())
        if cut == -1:
            raw[-9] ^= 1  # one bit of one weight
        else:
            raw = raw[:cut]
        last.write_bytes(raw)
        with pytest.warns(UserWarning, match=r"last\.safetensors is damaged"):
            done = fit(
                convnet(), some, HARD, seed=0, checkpoint=Checkpoint(tmp_path, "mine")
            )
        assert same(state(done.network), state(whole.network))


def test_a_checkpoint_of_another_training_is_refused(some, tmp_path):
    stopped(some, tmp_path, 1)
    with pytest.raises(InputError, match="configuration mine, not to other"):
        fit(convnet(), some, HARD, seed=0, checkpoint=Checkpoint(tmp_path, "other"))


def test_predict_and_accuracy(digits, digits_teacher):
    images, labels = digits[1].images, digits[1].labels
    logits = predict(digits_teacher, images)
    with torch.no_grad():
        expected = digits_teacher.eval()(images.double().div(255).float())
    assert logits.dtype == torch.float32 and torch.allclose(logits, expected, atol=1e-4)
    pieces = torch.cat([predict(digits_teacher, part) for part in images.split(7)])
    assert torch.allclose(logits, pieces, atol=1e-4)
    right = [int(a.argmax()) == int(b) for a, b in zip(logits, labels, strict=True)]
    percent = 100 * sum(right) / len(right)
    assert accuracy(digits_teacher, digits[1]) == pytest.approx(percent)


@pytest.mark.parametrize(
    ("change", "held"),
    [
        (lambda data: data.images.float() / 255, r"torch.float32 \(445, 3, 8, 8\)"),
        (lambda data: data.images.long(), "torch.int64"),
        (lambda data: data.images[0], r"torch.uint8 \(3, 8, 8\)"),
        (lambda data: data.images.numpy(), "ndarray"),
        (lambda data: data, "ImageSet"),
    ],
)
def test_predict_refuses_what_is_not_plain_images(digits, change, held):
    with pytest.raises(InputError, match=f"^images is {held}"):
        predict(convnet(), change(digits[1]))


def test_predict_answers_in_evaluation_mode(digits):
    network = convnet().train()
    before = state(network)
    predict(network, digits[1].images)
    assert same(before, network.state_dict())  # running statistics did not move


def test_a_network_that_was_asked_can_still_be_frozen_and_learn():
    network = networks.build("convnet-8", num_classes=3, image_size=8, seed=0)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    predict(network, images)  # places it, within inference mode
    for parameter in network.parameters():
        assert not parameter.is_inference()
        parameter.requires_grad_(False).requires_grad_(True)


def test_a_last_image_alone_joins_the_batch_before_where_batch_norm_needs_two(digits):
    """At 1x1 pixels batch norm has no variance of one image: PyTorch refuses it."""
    sizes, some = [], digits[0].subset(range(33))
    recipe = replace(HARD, epochs=1, warmup_epochs=0, batch_size=32)

    def watch(indices, logits):
        """Note the sizes of batches."""
        sizes.append(len(indices))

    for name, wanted in (("resnet10-w2", [33]), ("convnet-8", [32, 1])):
        network = networks.build(name, 10, 8, seed=0)
        fit(network, some, recipe, seed=0, watch=watch)
        assert sizes == wanted
        sizes.clear()
