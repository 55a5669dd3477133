"""The ways to run a step agree: plain, compiled, graph, and many at once in threads."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from ccfs_lib import networks
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.device import place
from ccfs_lib.runtime.engines import engine, graph_of
from ccfs_lib.runtime.halves import Halves
from ccfs_lib.step import Step, make_optimiser
from ccfs_lib.train import fit

RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05, warmup_epochs=0)
HARD = replace(RECIPE, loss="hard")
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine"
)


def student(digits, seed=0):
    return networks.build("convnet-8-16", 10, digits.image_size, seed=seed)


@pytest.fixture
def some(digits):
    return digits[0].subset(range(150))  # four full batches and a short one


def new_step(some, recipe=RECIPE, device="cpu", **kwargs):
    network = student(some).to(device)
    generator = torch.Generator(device).manual_seed(3)
    images, labels = some.images.to(device), some.labels.to(device)
    return Step(network, images, labels, recipe, generator, **kwargs)


def difference(a, b):
    """Largest distance of two networks' weights, as a share of the largest weight."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max(
        ((x.cpu() - y.cpu()).abs().max() / x.abs().max().clamp(min=1e-3)).item()
        for x, y in pairs
        if x.is_floating_point()
    )


def test_an_unknown_engine_is_refused(some):
    with pytest.raises(InputError, match="engine is 'fast', but must be one of"):
        fit(student(some), some, HARD, seed=0, engine="fast")


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA a graph is allowed")
def test_a_graph_needs_cuda(some):
    with pytest.raises(InputError, match="'graph', but must be one of auto, plain, c"):
        engine(new_step(some, HARD), "graph")


def test_graphs_replay_full_batches_and_a_shorter_last_one(some, digits_teacher):
    """With a recorder in place of CUDA's: same calls, same order, same bits."""
    recipe = Recipe(epochs=2, batch_size=32, warmup_epochs=0)
    plain = new_step(some, recipe, teacher=digits_teacher)
    graphed = graph_of(new_step(some, recipe, teacher=digits_teacher))
    captured, replayed = [], []

    def capture(size):
        graphed.before()
        captured.append(size)
        static = torch.zeros(size, dtype=torch.int64)

        def replay():
            replayed.append(static.clone())
            graphed.call(static)

        return SimpleNamespace(replay=replay), static

    graphed._capture = capture
    batches = list(torch.arange(150).split(32)) * 2
    for way in (plain, graphed):
        for batch in batches:
            way(batch)
    # Three plain to warm up, then 4 + 4 - 3 full ones; the second short one.
    assert captured == [32, 22]
    assert [len(batch) for batch in replayed] == [32, 32, 32, 32, 32, 22]
    assert torch.equal(replayed[0], batches[3])
    assert difference(plain.network, graphed.call.network) == 0
    assert torch.equal(plain.total, graphed.call.total)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_compiled_is_plain_within_a_tolerance(
    some, digits_teacher, tmp_path, monkeypatch
):
    # Kernels that another process compiled for AVX512 are wrong under conftest's AVX2.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counters.clear()
    seen = {}
    for way in ("plain", "compile"):
        step = new_step(some, teacher=digits_teacher)
        run = engine(step, way)
        run(torch.arange(32))
        step.gradients = [p.grad.clone() for p in step.network.parameters()]
        seen[way] = step
    assert seen["compile"].forward is not seen["plain"].forward
    totals = [step.total.item() for step in seen.values()]
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)
    pairs = zip(*(step.gradients for step in seen.values()), strict=True)
    for plain, compiled in pairs:
        torch.testing.assert_close(plain, compiled, rtol=1e-3, atol=1e-5)
    # Student and teacher were compiled; the next training of their shape has both.
    forms = counters["stats"]["unique_graphs"]
    assert forms == 2
    alike = networks.build("convnet-16-32", 10, 8, seed=7)  # as digits_teacher is
    other = new_step(some, teacher=place(alike, "cpu").eval())
    run = engine(other, "compile")
    run(torch.arange(32))
    run(torch.arange(22))  # a short batch is not worth a form
    assert counters["stats"]["unique_graphs"] == forms


@pytest.mark.parametrize("name", ["convnet-8-16", "resnet10-w4"])
def test_weights_cast_by_one_copy_have_the_bits_of_autocast(some, name):
    recipe, ways = replace(RECIPE, precision="bf16"), ("plain", "cast")
    teacher = networks.build(name, 10, 8, seed=9)
    done = {}
    for way in ways:
        network = networks.build(name, 10, 8, seed=0)
        how = {"seed": 3, "teacher": teacher, "test": some, "engine": way}
        done[way] = fit(network, some, recipe, **how)
    one, other = done.values()
    assert difference(one.network, other.network) == 0
    assert (one.losses, one.curve) == (other.losses, other.curve)
    for loss in ("kd", "hard"):  # and float32 is what it was
        steps = [
            new_step(some, replace(RECIPE, loss=loss), teacher=teacher) for _ in "ab"
        ]
        for step, way in zip(steps, ways, strict=True):
            engine(step, way)(torch.arange(32))
        assert difference(steps[0].network, steps[1].network) == 0


class Casts(TorchDispatchMode):
    """Counts copies to another type, one by one and together."""

    alone, together = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.alone += name == "_to_copy"
        self.together += name == "_foreach_copy_"
        return function(*args, **(kwargs or {}))


def test_one_copy_takes_the_place_of_a_cast_for_each_weight(some):
    teacher = networks.build("resnet10-w4", 10, 8, seed=9).eval()
    counts = {}
    for way in ("plain", "cast"):
        recipe = replace(RECIPE, precision="bf16")
        step = new_step(some, recipe, teacher=teacher)
        step.network = step.forward = networks.build("resnet10-w4", 10, 8, seed=0)
        step.optimiser = make_optimiser(step.network, recipe, torch.device("cpu"))
        run = engine(step, way)
        run(torch.arange(32))
        with Casts() as counts[way]:
            run(torch.arange(32))
    weights = len(Halves(teacher).full)
    assert weights == 14  # 12 convolutions, and the classifier's two
    assert counts["plain"].together == 0 and counts["cast"].together == 2
    # The student's there and back, the teacher's there.
    assert counts["plain"].alone - counts["cast"].alone == 3 * weights


def test_trainings_side_by_side_keep_the_bits_of_each_alone(some, digits_teacher):
    def train(seed):
        network = student(some, seed)
        done = fit(network, some, RECIPE, seed=seed, teacher=digits_teacher)
        return network, done.losses

    alone = [train(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(train, range(3)))
    for (a, losses), (b, others) in zip(alone, together, strict=True):
        assert losses == others
        assert difference(a, b) == 0
    assert difference(alone[0][0], alone[1][0]) > 0.01


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("way", ["graph", "cast", "compile"])
def test_a_graph_is_plain_within_a_tolerance(some, digits_teacher, way, precision):
    recipe = Recipe(epochs=3, batch_size=32, warmup_epochs=0, precision=precision)
    networks_, losses = [], []
    for name in ("plain", way):
        network = student(some)
        done = fit(
            network,
            some,
            recipe,
            seed=1,
            teacher=digits_teacher,
            device="cuda",
            engine=name,
        )
        networks_.append(network)
        losses.append(done.losses)
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert difference(*networks_) < (0.02 if precision == "fp32" else 0.1)


@needs_cuda
def test_graphs_side_by_side_keep_the_bits_of_each_alone(some, digits_teacher):
    teachers = [student(some, 7) for _ in range(6)]

    def train(seed, teacher):
        network = student(some, seed)
        fit(network, some, RECIPE, seed=seed, teacher=teacher, device="cuda")
        return network

    alone = [train(seed, teachers[seed]) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(train, range(3), teachers[3:]))
    for a, b in zip(alone, together, strict=True):
        assert difference(a, b) < 1e-5
