"""Chapter 14: scores against their formulas, prices against a pencil's."""

import math
from types import SimpleNamespace

import pandas
import pytest
import torch

from ccfs_lib import networks
from ccfs_lib.claims.compare import CCFS
from ccfs_lib.experiment import KNOWN, preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report import arms, fair, price
from ccfs_lib.store import Store

# Percent of two seeds: CCFS, its hard labels, its plain augmentation, and so on.
LAST = {
    CCFS: (90.0, 88.0),
    "ccfs-hard": (80.0, 82.0),
    "ccfs-plain": (85.0, 84.0),
    "distilled": (60.0, 64.0),
    "distilled-hard": (30.0, 36.0),
    "distilled-plain": (50.0, 52.0),
    "random": (86.0, 88.0),
    "random-hard": (84.0, 83.0),
    "random-plain": (80.0, 82.0),
    "full-hard": (95.0, 96.0),
}


def rows(last=LAST):
    made = [
        {
            "cell": arm,
            "seed": seed,
            "last": value,
            "best": value,
            "images": 180,
            "wanted": 200,
        }
        for arm, values in last.items()
        for seed, value in enumerate(values)
    ]
    return pandas.DataFrame(made)


def stages(dataset="digits", **changes):
    """As much of a Pipeline as prices ask for, without any data."""
    e = preset(dataset, **changes)
    known = KNOWN[dataset]

    class Set(SimpleNamespace):
        def __len__(self):
            return self.images

    train = Set(images=known.train, num_classes=known.classes, image_size=known.size)
    squeeze = SimpleNamespace(seeds=e.squeeze_seeds)
    test = Set(images=known.test)
    return SimpleNamespace(experiment=e, train=train, test=test, squeeze=squeeze)


def scaled(x):
    return (math.exp(x) - math.exp(-1)) / (math.e - math.exp(-1))


def test_scores_are_those_of_the_formulas_seed_by_seed():
    own = fair.scores(rows())[CCFS]
    assert own["HLR"] == pytest.approx([0.15, 0.14])
    assert own["IOR"] == pytest.approx([0.04, 0.0])
    assert own["IOR, not augmented"] == pytest.approx([0.05, 0.02])
    assert own["LRS"] == pytest.approx([scaled(-0.055), scaled(-0.07)])
    assert own["ARS"] == pytest.approx([scaled(0.045), scaled(0.01)])


def test_the_random_set_is_its_own_yardstick():
    own = fair.scores(rows())["random"]
    assert own["IOR"] == own["IOR, not augmented"] == [0, 0]
    assert own["ARS"] == pytest.approx([scaled(0)] * 2)
    assert own["HLR"] == pytest.approx([0.11, 0.13])


def test_only_seeds_that_all_arms_have_are_scored():
    one = rows()
    one = one[~((one["cell"] == "full-hard") & (one["seed"] == 0))]
    assert fair.scores(one)[CCFS]["HLR"] == pytest.approx([0.14])
    with pytest.raises(KeyError, match="full-hard"):
        fair.scores(rows({k: v for k, v in LAST.items() if k != "full-hard"}))


def test_tables_and_charts_of_scores():
    found = fair.scores(rows())
    text = str(fair.ranking(found))
    assert "| 14.5 |" in text and "±" not in text.partition("\n\n")[2]  # of two seeds
    assert "| random real images |" in text
    assert fair.dots(found)._repr_png_()[0].startswith(b"\x89PNG")


def test_verdicts_are_given_on_accuracies():
    last = dict(LAST) | {CCFS: (90.0, 92.2), "random": (80.0, 82.0)}
    last = {arm: (*two, sum(two) / 2) for arm, two in last.items()}
    found = fair.scores(rows(last))
    text = str(fair.answer(rows(last), found, stages()))
    assert "with the same teacher: **holds** (+10.1" in text
    assert (
        "with hard labels on both sides: **too close to call** (\N{MINUS SIGN}2.5"
        in text
    )
    assert "The teacher changes the accuracy by +10.1" in text
    assert "augmentation by +6.6" in text and "(random real images)" in text
    assert "The CCFS set holds 90" in text
    order = text[text.index("By LRS") : text.index("By ARS")]
    assert order.index("CCFS") < order.index("random real") < order.index("distilled")


def test_prices_with_a_pencil():
    """digits: 1,352 images, 30 epochs of the teacher, 40 of the others, 200 steps."""
    found = price.price(stages())
    own = found[CCFS]
    assert own["teacher"] == 1352 * 30 * 3 and own["scores"] == 2 * own["teacher"]
    assert own["recovery"] == 4 * 10 * 200 * 2
    # 4 + 6 + 5 + 5 images a class; filters see 40, 100 and 150 of them, then look.
    assert own["filters"] == (40 + 100 + 150) * 40 * 4 + 3 * 1352
    assert own["making"] == sum(list(own.values())[:4])
    assert own["using"] == found["random"]["using"] == 200 * 40 * 4
    assert found["random"]["making"] == 0
    assert found["distilled"]["recovery"] == 5 * own["recovery"]
    assert found["distilled"]["filters"] == found["distilled"]["scores"] == 0


def test_where_nothing_is_selected_no_score_is_charged():
    found = price.price(stages(alpha=1.0))
    assert found[CCFS] == found["distilled"] and found[CCFS]["scores"] == 0
    assert arms.nothing(preset(alpha=1.0)).startswith("Alpha is 1: nothing is selected")
    assert arms.nothing(preset()) == ""


def test_published_scores_cost_nothing_here():
    assert price.price(stages("cifar10", ipc=250))[CCFS]["scores"] == 0


def test_bytes_of_a_set_and_of_its_teacher():
    found = list(price.needs(preset(), 180, 1352, 10, 8).values())
    network = networks.build("convnet-16-32", 10, 8, seed=0)
    weights = sum(w.numpy().nbytes for w in network.state_dict().values())
    assert found == [180 * 192, weights, 180 * 40 * 29, 1352 * 192]


def test_the_papers_scale_stands_beside_where_it_has_the_data():
    text = str(price.sizes(rows(), stages("cifar10", ipc=500)))
    assert "at the paper's scale (MB)" in text
    # 5,000 images of 3,072 bytes; 500 epochs of 29 bytes each; a ResNet-18.
    assert "| 15.36 | 10.0" in text and "| 72.50 |" in text and "| 44.7" in text
    assert "paper's scale" not in str(price.sizes(rows(), stages()))


def test_minutes_are_those_of_the_first_time(tmp_path):
    def compute():
        return {"x": torch.zeros(1)}, {"seconds": 90.0}

    clock = price.Timed(Store(tmp_path))
    for name in ("a", "b", "a"):
        clock.get("train", {"name": name}, compute)
    clock.get("recover", {"name": "c"}, lambda: ({"x": torch.zeros(1)}, {}))
    assert clock.minutes("train") == "3" and clock.minutes("recover") == "\N{EN DASH}"
    clock.get("squeeze", {}, lambda: ({"x": torch.zeros(1)}, {"seconds": 2.0}))
    assert clock.minutes("squeeze") == "< 1"


def test_the_chapter_on_a_small_run(house, mini):
    run = Pipeline(mini())
    for arm in fair.ARMS:
        run.measure(arm)
    table = arms.read(run.experiment, fair.ARMS)
    found = fair.scores(table)
    assert set(found) == set(price.SETS) and len(found[CCFS]["LRS"]) == 1
    assert "seed 0: teacher and scores < 1, filters < 1" in str(price.prices(run))
    assert "Finding" in str(fair.answer(table, found, run))
    assert "100.0" in str(price.sizes(table, run))
