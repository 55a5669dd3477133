"""Published constants, as a table: method, cell, what it is, the number.

The numbers are those of the methods' public code or papers, written down here a second
time from notes on that code; a typing error in a preset has to be made twice to pass.
"""

from dataclasses import replace

import pytest

from ccfs_lib.distill import dm
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import (
    KNOWN,
    NORMALISATION,
    Strengths,
    condense,
    datasets,
    from_notebook,
    matching,
    motivation,
    preset,
)
from ccfs_lib.select import quotas

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
TINY = ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))


def same(found, **numbers) -> None:
    """Compare fields of a recipe, all at once for a readable message."""
    assert {name: getattr(found, name) for name in numbers} == numbers


def test_normalisation_of_ccfs_sre2l_and_cda():
    assert NORMALISATION == {
        "cifar10": CIFAR,
        "cifar10-jpeg": CIFAR,
        "cifar100": CIFAR,  # the authors take CIFAR-10's
        "cifar100-coarse": CIFAR,
        "tiny-imagenet": TINY,
    }


def test_normalisation_of_selmatch():
    own = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
    found = datasets.SELMATCH  # on CIFAR it has those of CCFS
    assert found == {"tiny-imagenet": own}


# dataset, IPC, alpha, epochs, lr, weight decay, batch rule of the tables (6 to 9);
# alphas are of the notebooks, or of the scripts where none was logged.
TABLES = [
    ("cifar10", 250, 0.2, 500, 0.1, 5e-4, "paper"),
    ("cifar10", 500, 0.2, 500, 0.1, 5e-4, "paper"),
    ("cifar10", 1000, 0.3, 250, 0.1, 5e-4, "paper"),
    ("cifar10", 1500, 0.3, 200, 0.1, 5e-4, "paper"),
    ("cifar100", 25, 0.2, 500, 0.1, 5e-4, "paper"),
    ("cifar100", 50, 0.4, 500, 0.1, 5e-4, "paper"),
    ("cifar100", 100, 0.1, 250, 0.1, 5e-4, "paper"),
    ("cifar100", 150, 0.2, 200, 0.1, 5e-4, "paper"),
    ("tiny-imagenet", 50, 0.2, 100, 0.2, 1e-4, "fixed"),
    ("tiny-imagenet", 100, 0.2, 100, 0.2, 1e-4, "fixed"),
]


@pytest.mark.parametrize("cell", TABLES, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_table_1(cell):
    dataset, ipc, alpha, epochs, lr, decay, rule = cell
    e = preset(dataset, "paper", ipc=ipc)
    same(e, alpha=alpha, curricula=3, network="resnet18", teacher_network="resnet18")
    same(e.recipe, epochs=epochs, lr=lr, weight_decay=decay, batch_rule=rule)
    same(e.recipe, batch_size=64, temperature=20.0, momentum=0.9, nesterov=False)
    same(e.recipe, warmup_epochs=5, warmup_start=0.01, final_lr=0.0, tail=0.2)
    same(e.recipe, loss="kd", augment="rrc", crop_scale=(0.08, 1.0), flip=True)
    assert e.score == "published-forgetting" and e.seeds == 5


# dataset, IPC, alpha, lr, weight decay of the shell scripts.
SCRIPTS = [
    ("cifar10", 250, 0.2),
    ("cifar10", 500, 0.1),
    ("cifar10", 1000, 0.3),
    ("cifar10", 1500, 0.3),
    ("cifar100", 25, 0.2),
    ("cifar100", 50, 0.1),
    ("cifar100", 100, 0.1),
    ("cifar100", 150, 0.2),
    ("tiny-imagenet", 50, 0.2),
    ("tiny-imagenet", 100, 0.2),
]


@pytest.mark.parametrize("cell", SCRIPTS, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_the_released_scripts(cell):
    dataset, ipc, alpha = cell
    e = preset(dataset, "paper", "released", ipc=ipc)
    rule = "fixed" if dataset == "tiny-imagenet" else "released"
    same(e.recipe, lr=0.2, weight_decay=1e-4, batch_rule=rule, batch_size=64)
    assert e.alpha == alpha


# The executed notebooks: alpha, lr, weight decay, and of each stage (three filters, the
# evaluation) the images of the set and the batch size.
NOTEBOOKS = [
    ("cifar10", 500, 50_000, 0.2, 0.1, 5e-4, [1000, 2340, 3670], [32, 32, 32, 64]),
    ("cifar100", 50, 50_000, 0.4, 0.1, 5e-4, [2000, 3000, 4000], [32, 32, 32, 64]),
    (
        *("tiny-imagenet", 100, 100_000, 0.2, 0.2, 1e-4),
        *([4000, 9400, 14_800], [64, 64, 64, 64]),
    ),
]


@pytest.mark.parametrize("cell", NOTEBOOKS, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_the_notebooks(cell):
    dataset, ipc, train, alpha, lr, decay, sizes, batches = cell
    e = preset(dataset, "paper", "notebooks", ipc=ipc)
    same(e, alpha=alpha, curricula=3, ipc=ipc)
    same(e.recipe, lr=lr, weight_decay=decay, warmup_epochs=5, temperature=20.0)
    same(e.recipe, epochs=100 if dataset == "tiny-imagenet" else 500)
    classes = KNOWN[dataset].classes
    begin = [sum(quotas(e.real, 3)[:j]) for j in range(4)]
    stages = [classes * (e.distilled + real) for real in begin]
    assert stages == [*sizes, classes * ipc]
    made = [e.recipe.for_size(n, train).batch_size for n in stages]
    assert made == batches
    # Asked for by its data set alone, it is the cell that was logged.
    assert preset(dataset, "paper", "notebooks") == e


def test_only_cells_that_were_logged_can_be_read_from_the_notebooks():
    logged = "cifar10 at IPC 500, cifar100 at IPC 50, tiny-imagenet at IPC 100"
    for dataset, scale, ipc in (
        ("cifar10", "paper", 250),
        ("tiny-imagenet", "paper", 50),
        ("digits", "", 20),
        ("cifar10", "laptop", 500),
    ):
        with pytest.raises(InputError, match=logged) as error:
            preset(dataset, scale, "notebooks", ipc=ipc)
        assert str(error.value).startswith("reading is 'notebooks'")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="paper, notebooks, released"):
        preset("cifar10", "paper", "scripts")
    with pytest.raises(ValueError, match=logged):  # nor built by hand
        replace(preset("cifar10", "paper", "notebooks"), ipc=250)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar10-jpeg", "cifar100"])
def test_teacher_of_cifar(dataset):
    teacher = preset(dataset, "paper").teacher
    same(teacher, epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, momentum=0.9)
    same(teacher, warmup_epochs=0, final_lr=0.0, augment="crop", pad=4, flip=True)
    assert teacher.loss == "hard"


def test_teacher_of_tiny_imagenet():
    teacher = preset("tiny-imagenet", "paper").teacher
    same(teacher, epochs=200, batch_size=256, lr=0.2, weight_decay=1e-4, momentum=0.9)
    same(teacher, warmup_epochs=5, warmup_start=0.01, augment="rrc")
    same(teacher, crop_scale=(0.08, 1.0), flip=True, loss="hard", final_lr=0.0)


# iterations, lr, BN weight, smallest crop, flip, both directions of the roll.
RECOVERY = [
    ("cifar10", "cda", 1000, 0.25, 0.01, 0.08, True, False),
    ("cifar100", "cda", 1000, 0.25, 0.01, 0.08, True, False),
    ("tiny-imagenet", "cda", 4000, 0.4, 0.05, 0.08, True, False),
    ("cifar10", "sre2l", 1000, 0.25, 0.01, 1.0, False, False),
    ("cifar100", "sre2l", 1000, 0.25, 0.01, 1.0, False, False),
    ("tiny-imagenet", "sre2l", 4000, 0.1, 1.0, 0.08, True, True),
]


@pytest.mark.parametrize("row", RECOVERY, ids=lambda r: f"{r[1]}-{r[0]}")
def test_recovery_of_sre2l_and_cda(row):
    dataset, method, iterations, lr, weight, crop, flip, back = row
    e = preset(dataset, "paper", method=method)
    recipe = e.distillation
    same(recipe, method=method, iterations=iterations, lr=lr, bn_weight=weight)
    same(recipe, crop_min=crop, flip=flip, roll=4, roll_back=back, save="jpeg")
    same(recipe, betas=(0.5, 0.9), first_bn=10.0, batch_size=100)
    if method == "cda":
        assert e == preset(dataset, "paper")  # asking for what is there anyway
    else:
        assert e.run == f"{preset(dataset, 'paper').run}-sre2l"


def test_sre2l_at_the_other_scales():
    """Its own numbers for the data set; iterations are the scale's."""
    digits = preset(method="sre2l")
    same(digits.distillation, crop_min=1.0, flip=False, roll=1, iterations=200)
    assert digits.run == "digits-ipc20-sre2l"
    tiny = preset("tiny-imagenet", method="sre2l").distillation
    same(tiny, iterations=500, lr=0.1, bn_weight=1.0, roll_back=True, crop_min=0.08)
    e, _ = from_notebook({"dataset": "digits", "method": "sre2l"})
    assert e == digits
    with pytest.raises(InputError, match=r"method is 'mtt': .*'cda' or 'sre2l'"):
        preset(method="mtt")


# MTT: inner steps, expert epochs, latest start, batch, lr of images, of lr, first lr.
MTT = [
    ("cifar10", 1, 50, 2, 2, 0, 1e2, 1e-7, 0.01),
    ("cifar10", 10, 30, 2, 20, 0, 1e2, 1e-5, 0.001),
    ("cifar10", 50, 30, 2, 40, 0, 1e3, 1e-5, 0.001),
    ("cifar100", 1, 20, 3, 20, 0, 1e3, 1e-5, 0.01),
    ("cifar100", 10, 20, 2, 20, 0, 1e3, 1e-5, 0.01),
    ("cifar100", 50, 80, 2, 40, 125, 1e3, 1e-5, 0.01),
    ("tiny-imagenet", 1, 10, 2, 10, 0, 1e4, 1e-4, 0.01),
    ("tiny-imagenet", 10, 20, 2, 40, 200, 1e4, 1e-4, 0.01),
    ("tiny-imagenet", 50, 20, 2, 40, 300, 1e4, 1e-4, 0.01),
]


@pytest.mark.parametrize("cell", MTT, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_mtt(cell):
    dataset, ipc, steps, epochs, start, batch, lr_img, lr_lr, lr = cell
    m = matching.published("mtt", dataset, ipc)
    same(m, iterations=5000, syn_steps=steps, expert_epochs=epochs, batch_syn=batch)
    same(m, min_start_epoch=0, max_start_epoch=start, momentum=0.5, grow=0)
    same(m, lr_img=lr_img, lr_lr=lr_lr, lr_init=lr, labels="hard", init="random")
    assert m.dsa == Strengths(choice="batch") and m.skip_above is None


# DATM: starts from and below, inner steps, lr of images, of lr, first images.
DATM = [
    ("cifar10", 500, 40, 60, 40, 50.0, 1e-5, "correct"),
    ("cifar10", 1000, 40, 60, 100, 50.0, 1e-5, "correct"),
    ("cifar100", 50, 20, 70, 80, 1000.0, 1e-5, "random"),
    ("cifar100", 100, 30, 70, 80, 50.0, 1e-5, "correct"),
    ("tiny-imagenet", 50, 40, 70, 20, 100.0, 1e-4, "correct"),
]


@pytest.mark.parametrize("cell", DATM, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_datm(cell):
    dataset, ipc, low, high, steps, lr_img, lr_lr, init = cell
    m = matching.published("datm", dataset, ipc)
    same(m, iterations=10_000, syn_steps=steps, expert_epochs=2, batch_syn=1000)
    same(m, min_start_epoch=low, max_start_epoch=high, grow=0, init=init)
    same(m, lr_img=lr_img, lr_lr=lr_lr, lr_init=0.01, momentum=0.5, skip_above=1.0)
    same(m, labels="soft", lr_label=10.0, label_momentum=0.9)
    assert m.dsa == Strengths(choice="batch")
    expert = matching.published_experts("datm", dataset, ipc)
    same(expert, epochs=100, lr=0.01, batch_size=256, zca=True)
    assert expert.dsa == Strengths(choice="batch")


# MTT's cells with ZCA, and its experts.
WHITENED = {("cifar10", 1), ("cifar10", 10), ("cifar100", 1), ("cifar100", 50)}


@pytest.mark.parametrize("cell", MTT, ids=lambda c: f"{c[0]}-{c[1]}")
def test_experts_of_mtt(cell):
    expert = matching.published_experts("mtt", *cell[:2])
    same(expert, epochs=50, lr=0.01, batch_size=256, zca=cell[:2] in WHITENED)
    assert expert.dsa == Strengths(choice="batch")


# SelMatch: alpha, beta, evaluation epochs, lr of images, inner steps.
SELMATCH = [
    ("cifar10", 250, 0.6, 0.5, 1000, 1e3, 55),
    ("cifar10", 500, 0.2, 0.3, 500, 1e3, 55),
    ("cifar10", 1000, 0.1, 0.2, 250, 1e4, 55),
    ("cifar10", 1500, 0.1, 0.2, 167, 1e4, 55),
    ("cifar100", 25, 0.8, 0.8, 1000, 1e3, 55),
    ("cifar100", 50, 0.6, 0.7, 500, 1e3, 55),
    ("cifar100", 100, 0.3, 0.6, 250, 1e3, 55),
    ("cifar100", 150, 0.2, 0.4, 167, 1e3, 55),
    ("tiny-imagenet", 50, 0.6, 0.8, 500, 1e3, 20),
    ("tiny-imagenet", 100, 0.5, 0.7, 250, 1e3, 20),
]


@pytest.mark.parametrize("cell", SELMATCH, ids=lambda c: f"{c[0]}-{c[1]}")
def test_cells_of_selmatch(cell):
    dataset, ipc, alpha, beta, epochs, lr_img, steps = cell
    m = motivation(dataset, "paper", ipc=ipc)
    same(m, beta=beta, experts=100, matcher="convnet", start="class")
    tiny = dataset == "tiny-imagenet"
    assert m.experiment.network == ("resnet18-s2" if tiny else "resnet18")
    assert m.experiment.score == f"published-{'forgetting' if tiny else 'cscore'}"
    assert m.ranking == "published-forgetting"  # of CCFS on MTT, everywhere
    same(m.expert, epochs=100, lr=0.01, batch_size=256, dsa=None, zca=False)
    assert m.expert == matching.published_experts("selmatch", dataset, ipc)
    same(m.matching, iterations=10_000, syn_steps=steps, expert_epochs=2, lr_img=lr_img)
    same(m.matching, batch_syn=125, min_start_epoch=0, max_start_epoch=80, grow=0)
    same(m.matching, lr_lr=1e-5, lr_init=0.001, momentum=0.5, labels="hard")
    same(m.evaluation, epochs=epochs + 1, batch_size=128, lr=0.1, weight_decay=5e-4)
    same(m.evaluation, momentum=0.9, warmup_epochs=0, final_lr=0.01, loss="hard")
    same(m.evaluation, augment="crop", pad=4, flip=True, tail=0.0, nesterov=False)
    assert m.experiment.alpha == alpha and m.matching.dsa == Strengths(choice="batch")
    # Its scheduler is told E epochs, and the loop has one more: the first at lr, the
    # last at 1 % of it.
    rates = [m.evaluation.lr_at(epoch) for epoch in range(epochs + 1)]
    assert rates[0] == 0.1 and rates[-1] == pytest.approx(0.001, rel=1e-9)
    half = 0.001 + (0.1 - 0.001) / 2
    assert rates[epochs // 2] == pytest.approx(half, rel=0.02)


def test_dsa_strengths():
    same(Strengths(), flip=0.5, scale=1.2, rotate=15.0, crop=0.125, cutout=0.5)
    same(Strengths(), brightness=1.0, saturation=2.0, contrast=0.5)
    assert Strengths().ops == ("color", "crop", "cutout", "flip", "scale", "rotate")


# IPC: matches in an iteration, steps of the network between two.
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15)}
LOOPS[50] = (50, 10)


@pytest.mark.parametrize("ipc", LOOPS)
def test_loops_of_dsa(ipc):
    recipe = condense.dsa("cifar10", ipc)
    same(recipe, outer=LOOPS[ipc][0], inner=LOOPS[ipc][1], iterations=1000)
    same(recipe, lr_img=0.1, lr_net=0.01, momentum=0.5, batch_real=256, batch_net=256)


def test_dm():
    same(dm.Distribution(), iterations=20_000, lr_img=1.0, momentum=0.5, batch_real=256)
