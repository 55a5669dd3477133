"""Chapters 7 to 9: which variants there are, and what is said of made-up accuracies."""

import numpy as np
import pandas
import pytest

from ccfs_lib.claims.compare import values
from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report import ablation
from ccfs_lib.report.ablation import Variant


def rows(**accuracies):
    """Results of made-up variants, one row per seed."""
    made = [
        {
            "cell": name,
            "seed": seed,
            "last": value,
            "best": value + 1,
            "images": 9 if name == "short" else 10,
            "wanted": 10,
        }
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pandas.DataFrame(made)


def variants(*names):
    return [Variant(name, preset(), i) for i, name in enumerate(names)]


def test_a_data_set_gets_the_scores_that_it_has():
    digits = [v.experiment.score for v in ablation.scores(preset())]
    assert digits == ["forgetting", "forgetting", "logits"]
    blind = [v.experiment.score for v in ablation.scores(preset(alpha=0.0))]
    assert blind == ["forgetting", "forgetting"]  # no filter, no logits of it
    # Forgetting is published: only the teacher's own count, which is free, beside it.
    cifar = ablation.scores(preset("cifar10", ipc=50))
    published = ["published-forgetting", "published-cscore"]
    assert [v.experiment.score for v in cifar] == [*published, "forgetting", "logits"]
    assert cifar[2].experiment.score_runs == 1


def test_no_more_phases_than_images():
    few = preset(ipc=5, alpha=0.4, curricula=1)  # three real images a class
    assert [v.at for v in ablation.curricula(few)] == [1, 2, 3]
    assert len(ablation.curricula(preset())) == 5


def test_portions_that_this_ipc_can_be_split_into():
    # 0.4 and 0.6 of three images leave fewer than three phases need; 0.2 is none.
    few = ablation.alphas(preset(ipc=3, alpha=1.0))
    assert [v.at for v in few] == [0, 1]
    assert ablation.base(few, "alpha = 0.2") == "alpha = 0"
    assert ablation.base(ablation.alphas(preset()), "alpha = 0.2") == "alpha = 0.2"
    assert [v.at for v in ablation.alphas(preset())] == list(ablation.ALPHAS)


def test_portions_are_in_their_order_and_told_once():
    some = ablation.alphas(preset(), [0.5, 0.3, 0.5])
    assert [v.at for v in some] == [0.3, 0.5]


def test_what_is_left_out_has_a_reason():
    assert ablation.left_out(preset(), "alpha") == ""
    assert ablation.left_out(preset(), "curricula") == ""
    few = preset(ipc=5, curricula=2)
    assert ablation.left_out(few, "alpha") == (
        "Left out: alpha = 0.8 (curricula is 2, but must be at most 1, the real images "
        "per class that ipc 5 with alpha 0.8 leaves)."
    )
    text = ablation.left_out(preset(ipc=5, alpha=0.4), "curricula")
    assert text.startswith("Left out: J = 4 (curricula is 4") and "; J = 5 (" in text
    text = str(ablation.answer(rows(a=[1, 2]), variants("a"), "a", "C.", text))
    assert "Only a was measured here" in text and "J = 5" in text


def test_every_variant_files_its_results_apart():
    for made in (ablation.scores, ablation.curricula, ablation.alphas):
        runs = [v.experiment.run for v in made(preset())]
        assert len(set(runs)) == len(runs)


def test_the_answer_counts_what_can_be_told_apart():
    found = rows(
        base=[50, 51, 52], high=[60, 61.2, 62], low=[40, 41, 42.1], same=[50, 52, 51]
    )
    text = str(
        ablation.answer(found, variants("base", "high", "low", "same"), "base", "C.")
    )
    assert "High has the highest mean accuracy of 4, 61.1" in text
    minus = "\N{MINUS SIGN}"
    assert "1 higher (high: +10.1 [+9.8, +10.4]), 1 lower (low: " in text
    assert f"(low: {minus}10.0 [{minus}10.1, {minus}9.8]), 1 too close to call." in text
    assert "largest difference" not in text and "Every set is full" in text


def test_the_largest_difference_has_a_sentence_where_it_is_no_clear_one():
    found = rows(base=[50, 51, 52], clear=[51, 52.1, 53], wide=[40, 70, 61])
    text = str(ablation.answer(found, variants("base", "clear", "wide"), "base", ""))
    assert "1 higher (clear: +1.0 [+0.9, +1.2]), 0 lower, 1 too close to call" in text
    assert "The largest difference, that of wide, is too close to call: +6.0" in text


def test_equal_means_share_the_first_place():
    names = variants("base", "same", "low")
    found = rows(base=[50, 51, 52], same=[52, 50, 51], low=[40, 41, 42.1])
    text = str(ablation.answer(found, names, "base", ""))
    assert "Base and same share the highest mean accuracy of 3, 51.0" in text
    found = rows(base=[50, 51, 52], same=[52, 50, 51], low=[50, 51, 52])
    text = str(ablation.answer(found, names, "base", ""))
    assert "All 3 have the same mean accuracy, 51.0" in text
    assert "with base: all have exactly the same mean accuracy." in text
    assert "largest difference" not in text
    text = str(ablation.answer(found, names[:2], "base", ""))
    assert "- Same, compared with base: equal, 0.0" in text


def test_few_seeds_are_not_tested():
    found = rows(base=[50, 51], one=[52, 52], two=[40, 42])
    text = str(ablation.answer(found, variants("base", "one", "two"), "base", ""))
    assert "So few seeds (2\N{NO-BREAK SPACE}seeds) have no interval" in text
    assert "points and not tested: one +1.5 and two \N{MINUS SIGN}9.5." in text
    assert "too close" not in text
    text = str(ablation.answer(found, variants("base", "one"), "base", ""))
    assert "One, compared with base: not tested, +1.5" in text


def test_an_alpha_of_the_authors_that_is_missing_is_named():
    def said(e, some):
        return ablation._theirs(ablation.alphas(e, some))

    cell = preset("cifar100", "paper", ipc=50)  # the notebook has 0.4
    assert "The authors' code has alpha 0.4 for these data" in said(cell, (0, 0.2))
    assert said(cell, (0.2, 0.4)) == said(preset(), (0, 0.2)) == ""
    assert ablation._theirs(ablation.curricula(cell)) == ""


def test_a_short_set_is_named():
    text = str(
        ablation.answer(
            rows(base=[5, 6], short=[5, 6]), variants("base", "short"), "base", ""
        )
    )
    assert "short holds 90" in text


def test_the_papers_tables_as_printed():
    text = str(ablation.printed(5))
    assert "| 4 | 92.4 | 71.6 | 55.7 |" in text
    assert "nan" not in str(ablation.printed(4))


def test_agreement_is_spearmans(monkeypatch):
    """Within classes: the same order gives 1, the reversed order -1."""
    from types import SimpleNamespace

    import torch

    scores = {1: np.array([0, 1, 2, 9, 8, 7.0]), 2: -np.array([0, 1, 2, 9, 8, 7.0])}
    monkeypatch.setattr(
        ablation,
        "Pipeline",
        lambda e, *_: SimpleNamespace(difficulty=scores.get(e)),
    )
    train = SimpleNamespace(labels=torch.tensor([0, 0, 0, 1, 1, 1]), num_classes=2)
    stages = SimpleNamespace(train=train, store=None, device="cpu")
    some = [Variant("a", 1), Variant("b", 2), Variant("logits", 3)]
    text = str(ablation.agreement(stages, some))
    assert "| a | 1.00 | \N{MINUS SIGN}1.00 |" in text and "logits" not in text


def test_measured_variants_share_what_they_can(house, mini):
    run = Pipeline(mini())
    some = [v for v in ablation.curricula(run.experiment) if v.at <= 2]
    found = ablation.measure(run, some)
    assert found["cell"].tolist() == ["J = 1", "J = 2"]
    for variant in some:
        own = Pipeline(variant.experiment).evaluate("simple-misclassified", 0)
        assert values(found, variant.name) == [own["last"]]
    for figure in (
        ablation.dots(found, some),
        ablation.curve(found, some, "phases", {"control": [50.0]}),
        ablation.differences(found, some, "J = 1"),
    ):
        assert figure._repr_png_()[0].startswith(b"\x89PNG")
    assert "last, by seed" in str(ablation.ranking(found, some))


@pytest.mark.parametrize("made", [ablation.scores, ablation.curricula, ablation.alphas])
def test_the_preset_itself_is_among_the_variants(made):
    assert preset().run in [v.experiment.run for v in made(preset())]
