"""Chapter 15: sets chosen by one network, learnt by others, on made-up accuracies."""

import pandas
import pytest

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import from_notebook, preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report import transfer


def rows(**accuracies):
    """learner -> (CCFS, random, distilled), each a list of accuracies by seed."""
    return pandas.DataFrame(
        [
            {"learner": name, "cell": cell, "seed": seed, "last": value}
            for name, sets in accuracies.items()
            for cell, values in zip(transfer.ARMS, sets, strict=True)
            for seed, value in enumerate(values)
        ]
    )


HOME = [60, 61, 62], [57, 58.1, 59], [40, 41, 42]


def test_the_filters_own_network_comes_first_and_only_once():
    made = transfer.variants(preset(), ["convnet-8", "convnet-16-32", "convnet-8"])
    assert [v.name for v in made] == ["convnet-16-32", "convnet-8"]
    runs = [v.experiment.run for v in made]
    assert runs == ["digits-ipc20", "digits-ipc20-on-convnet-8"]
    for scale, dataset in (("digits", "digits"), ("laptop", "cifar10")):
        names = [v.name for v in transfer.variants(preset(dataset, scale, ipc=20))]
        assert names[1:] == list(transfer.OTHERS[scale])


def test_networks_are_checked_before_anything_is_read():
    _, chapter = from_notebook({"networks": "convnet-8 resnet18"})
    assert chapter == {"networks": ["convnet-8", "resnet18"]}
    assert from_notebook({"networks": ""})[1] == {"networks": []}
    with pytest.raises(InputError, match=r"^networks is 'vgg', but must be convnet"):
        from_notebook({"networks": "convnet-8 vgg"})
    with pytest.raises(InputError, match="networks is 3, but must be names"):
        from_notebook({"networks": 3})


def test_arms_and_portions_of_a_chapter_are_checked_as_well():
    some = "simple-misclassified random random-hard"
    _, chapter = from_notebook({"arms": some, "alphas": "0 0.25"})
    assert chapter == {"arms": some.split(), "alphas": [0.0, 0.25]}
    assert from_notebook({"arms": "", "alphas": ""})[1] == {"arms": [], "alphas": []}
    assert from_notebook({"roles": False})[1] == {"roles": False}
    for name, value, told in (
        ("arms", "random best", "arm is 'best', but must be one of simple-mis"),
        ("arms", "random random-hard", "lacks simple-misclassified"),
        ("arms", ["random"], "arms is .'random'., but must be names"),
        ("alphas", "0 some", "alphas has 'some', which is no number"),
        ("alphas", "0 2", "alphas is 2.0"),
        ("roles", "no", "roles is 'no', but must be True or False"),
    ):
        with pytest.raises(InputError, match=told):
            from_notebook({name: value})


def test_the_answer_counts_networks_and_says_what_travels():
    ahead = [63, 64, 65], [61, 62.1, 63], [50, 51, 52]
    level = [63, 64, 65], [63, 64.5, 64.4], [50, 51, 52]
    text = str(transfer.answer(rows(home=HOME, wide=ahead, deep=level)))
    assert "2\N{NO-BREAK SPACE}networks that took no part" in text
    assert "distilled images only, CCFS is ahead on 2, behind on 0" in text
    assert "teacher, CCFS is ahead on 1, behind on 0, too close to call on 1." in text
    # 3.0 2.9 3.0 at home; 1.0 0.7 1.3 away: 2.0 lost, more or less
    assert "changes by \N{MINUS SIGN}2.0" in text and "**it shrinks**" in text
    assert "Only home" in str(transfer.answer(rows(home=HOME)))


def test_few_seeds_are_not_tested():
    home, away = ([60], [57], [40]), ([63], [61], [50])
    text = str(transfer.answer(rows(home=home, wide=away)))
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert "distilled images only, CCFS is not tested (1 seed): +13.0 (wide)" in text
    assert "**not tested**" in text and "too close" not in text


def test_the_papers_table_as_printed():
    text = str(transfer.printed())
    assert "| network | SRe2L | CDA | CCFS |" in text
    assert "| regnet_y_8gf | 54.8 | 57.1 | 62.9 |" in text and text.count("\n|") == 7


def test_other_networks_learn_from_the_very_same_sets(house, mini):
    run = Pipeline(mini())
    some = transfer.variants(run.experiment, ["convnet-4"])
    found = transfer.measure(run, some)
    assert list(found["learner"].unique()) == [run.experiment.network, "convnet-4"]
    other = Pipeline(some[1].experiment)
    for arm in transfer.ARMS:
        own = found[(found["learner"] == "convnet-4") & (found["cell"] == arm)]
        assert own["last"].tolist() == [other.evaluate(arm, 0)["last"]]
        here, there = run.synthetic(arm, 0), other.synthetic(arm, 0)
        assert (here.labels == there.labels).all()
    text = str(transfer.ranking(run, found))
    assert "| convnet-4 | 0.001 |" in text and text.count("\n|") == 4
    assert len(transfer.gains(found).axes[0].texts) >= 4
