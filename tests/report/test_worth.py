"""Chapter 17: selection and distilled part over runs, on made-up accuracies."""

import math
from dataclasses import replace

import pandas
import pytest
from scipy import stats

from ccfs_lib.report import worth


def rows(*sets, **common):
    """Return rows of results: each of sets is a cell, its alpha, accuracies, others."""
    shared = {"dataset": "cifar100", "ipc": 50, "network": "resnet18"} | common
    return pandas.DataFrame(
        [
            {**shared, "run": f"run-{alpha}", "recipe.epochs": 60, **other}
            | {"cell": cell, "alpha": alpha, "seed": seed, "last": value}
            for cell, alpha, values, other in sets
            for seed, value in enumerate(values)
        ]
    )


FILTER = {"phases.1.test": 22.0, "agreement": 99.5}
HOME = (
    (worth.CCFS, 0.2, [67, 66.8, 67.2], FILTER),
    (worth.CCFS, 0.4, [70, 70, 70], {}),
    (worth.CCFS, 0.0, [66, 66.4, 66.7], {}),
    ("random", 0.2, [64, 64, 64.2], {}),
)


def test_ccfs_minus_random_is_the_sum_of_both_parts():
    (one,) = worth.decompose(rows(*HOME))
    assert one.selection.mean == pytest.approx((66 + 66.4 + 66.7 - 192.2) / 3)
    # Of the alphas above 0, the one measured beside the random images: not 0.4.
    assert one.distilled.mean == pytest.approx((201 - 199.1) / 3)
    both = one.selection.mean + one.distilled.mean
    assert both == pytest.approx((201 - 192.2) / 3)
    assert (one.learner, one.maker, one.filter) == ("resnet18", "resnet18", 22)
    assert one.ratio == pytest.approx(10)
    assert one.agreement == pytest.approx(99.5)
    assert one.random == pytest.approx(192.2 / 3)


def test_both_parts_are_of_the_seeds_that_all_sets_have():
    more = [
        (c, a, [*x, 90.0] if c == "random" or a == 0 else x, o) for c, a, x, o in HOME
    ]
    (same,), (one,) = worth.decompose(rows(*HOME)), worth.decompose(rows(*more))
    assert one.selection == same.selection and one.random == same.random
    assert one.selection.mean + one.distilled.mean == pytest.approx(one.whole.mean)


def test_each_alpha_beside_random_images_is_a_line_of_its_own():
    """Seeds of one are not mixed with the others'; lines of one name say their run."""
    more = ("random", 0.4, [64, 64, 64.2, 60.0], {})
    one, other = worth.decompose(rows(*HOME, more))
    assert other.name == one.name.replace(", 60 epochs", ", alpha 0.4, 60 epochs")
    assert one.distilled.mean == pytest.approx((201 - 199.1) / 3)
    assert other.distilled.mean == pytest.approx((210 - 199.1) / 3)
    assert "more than one teacher" in plain(worth.teachers([one, other]))
    assert "two sizes" in plain(worth.larger([one, replace(other, data="A, IPC 9")]))
    begun = replace(other, images="cifar100 images")
    assert "with its own" not in plain(worth.crossed([one, begun]))
    assert "with its own" in plain(worth.crossed([one, other, begun]))
    late = replace(begun, ccfs=((7, 70.0),))  # no seed in common
    assert "with its own" not in plain(worth.crossed([one, other, late]))
    # Of three teachers one has a second alpha: they are one line as before.
    three = [replace(one, teacher=n, source=f"t{n}") for n in range(3)]
    alone, both = (worth.teachers(x) for x in (three, [*three, other]))
    assert plain(alone) == plain(both)


def test_two_lines_of_one_name_say_their_runs():
    """Of equal settings but for the phases, say."""
    first = rows(*HOME).assign(curricula=3)
    other = rows(*HOME).assign(curricula=2, run=lambda r: r["run"] + "-j2")
    names = [w.name for w in worth.decompose(pandas.concat([first, other]))]
    assert [name.split(", ")[-1] for name in names] == ["run-0.2", "run-0.2-j2"]


def test_the_finding_ends_with_your_own_runs():
    (one,) = worth.decompose(rows(*HOME))
    yours = replace(one, own=True, dataset="digits")
    for book in ([], [one]):
        text = plain(worth.answer([*book, yours]))
        assert f"{yours.name}: selection " in text and "(your run)" in yours.name


def test_sets_of_another_network_are_told_from_a_learners_own():
    elsewhere = [{"selected_from": f"data/selected/run-{a}"} for a in (0.2, 0.0)]
    theirs = rows(
        ("selected", 0.2, [50, 51, 52], elsewhere[0] | {"distilled_from": "images"}),
        ("selected", 0.0, [49, 50, 53], elsewhere[1]),
        ("random", 0.2, [48, 48, 48], {}),
        network="convnet-32-64-128",
    ).assign(run="small")
    home, away = worth.decompose(pandas.concat([rows(*HOME), theirs]))
    assert (home.learner, away.learner) == ("resnet18", "convnet-32-64-128")
    assert (away.maker, away.filter) == ("resnet18", 22)
    assert math.isnan(away.agreement)  # with the learner's teacher, and nobody asked
    assert home.times_chance == pytest.approx(22.0)  # percent, of 100 classes
    assert replace(home, classes=10).times_chance == pytest.approx(2.2)
    assert "nan" not in worth.against([home, away])._repr_svg_().lower()
    assert away.selection.mean == pytest.approx(8 / 3)
    assert away.distilled.mean == pytest.approx(1 / 3)
    assert away.name.endswith(": ConvNet, sets of ResNet-18, 60 epochs")
    assert "teacher of ConvNet" not in str(worth.crossed([home, away]))
    assert "Not measured: a learner with a teacher of" in str(worth.crossed([away]))


def test_a_batch_that_a_few_missing_images_halve_is_said():
    recipe = {"recipe.batch_rule": "released", "recipe.batch_size": 64, "wanted": 5000}
    known = rows(*HOME, images=5000, **recipe)
    short = (known["cell"] == worth.CCFS) & (known["alpha"] == 0.2)
    short &= known["seed"] < 2
    (one,) = worth.decompose(known.assign(images=known["images"].where(~short, 4998)))
    assert one.steps.startswith("In 2 of 3 seeds CCFS was trained in batches of 32")
    text = plain(worth.answer([one]))
    assert f"{one.name}: in 2 of 3 seeds CCFS" in text
    (one,) = worth.decompose(known)
    assert one.steps == ""
    short = (known["cell"] == worth.CCFS) & (known["alpha"] == 0) & (known["seed"] < 1)
    (one,) = worth.decompose(known.assign(images=known["images"].where(~short, 4998)))
    assert one.steps.startswith("In 1 of 3 seeds CCFS without distilled images (alpha")


def test_curricula_begun_with_other_images_are_sets_of_their_own():
    """The same network selects, once from its own images and once from given ones."""
    given = {"distilled_from": "data/cache/resnet18-images", "agreement": 40.0}
    given |= {"phases.1.test": 30.0}
    begun = rows((worth.CCFS, 0.2, [60, 61, 62], given)).assign(run="begun")
    own, other = worth.decompose(pandas.concat([rows(*HOME), begun]))
    assert (own.images, other.images) == ("", "resnet18 images")
    assert own.distilled.mean == pytest.approx((201 - 199.1) / 3)
    assert other.distilled.mean == pytest.approx((183 - 199.1) / 3)
    assert own.selection == other.selection  # alpha 0 holds none of the images
    assert other.agreement == 40 and own.agreement == 99.5
    assert other.name.endswith(": ResNet-18, begun with resnet18 images, 60 epochs")
    text = plain(worth.crossed([own, other]))
    assert "classifies 40.0 % of these distilled images right, 99.5 % of its" in text
    assert "from them the first filter reaches 30.0 %, from its own 22.0 %" in text
    low, high = stats.ttest_rel([60, 61, 62], [67, 66.8, 67.2]).confidence_interval()
    gain = f"its own images: -6.0 points, 95 % interval [{low:.1f}, {high:.1f}]."
    assert gain.replace("-", "\u2212") in text
    assert "with its own images" not in plain(worth.crossed([other]))
    gain = f"-6.0 [{low:.1f}, {high:.1f}]".replace("-", "\u2212")
    text = plain(worth.answer([own, other]))
    assert f"{gain} with resnet18 images (CIFAR-100, IPC 50: ResNet-18, 3 s" in text
    text = plain(worth.answer([own, other]))
    assert "Of 1 learner and set on" in text
    assert "has some of the same sets: 1 line begun with images of another t" in text
    assert "Not counted" not in plain(worth.answer([own]))
    assert "No network of this book" in plain(worth.crossed([own]))
    both = worth.decompose(pandas.concat([begun, rows(*HOME)]))
    assert {w.name for w in both} == {own.name, other.name}


def test_the_finding_says_who_recognises_the_images_of_another_network():
    elsewhere = [{"selected_from": f"data/selected/run-{a}"} for a in (0.2, 0.0)]
    known = elsewhere[0] | {"distilled_from": "images", "agreement": 37.6}
    theirs = rows(
        ("selected", 0.2, [50, 51, 52], known),
        ("selected", 0.0, [49, 50, 53], elsewhere[1]),
        ("random", 0.2, [48, 48, 48], {}),
        network="convnet",
    ).assign(run="small")
    both = worth.decompose(pandas.concat([rows(*HOME), theirs]))
    text = plain(worth.crossed(both))
    assert (
        "The teacher of ConvNet classifies 37.6 % of these distilled images right, "
        "that of ResNet-18 99.5 %." in text
    )
    assert "Where another network selected (1 line), the" in plain(worth.answer(both))
    # With the teacher that made the images, whose opinion they have is no question.
    own = theirs.assign(teacher_network="convnet")
    given = theirs.assign(teacher_network="resnet18", run="given")
    home = rows(*HOME).assign(teacher_network="resnet18")
    every = worth.decompose(pandas.concat([home, own, given]))
    names = {w.name.partition(": ")[2].removesuffix(", 60 epochs"): w for w in every}
    assert set(names) == {
        "ResNet-18",
        "ConvNet, sets of ResNet-18",
        "ConvNet, sets of ResNet-18, teacher ResNet-18",
    }
    taught = names["ConvNet, sets of ResNet-18, teacher ResNet-18"]
    text = plain(worth.crossed([names["ResNet-18"], taught]))
    assert text.count("\n") == 0 and "classifies" not in text  # nor "Not measured"
    text = plain(worth.answer(every))
    assert "Of 2 learners and sets" in text and "network selected (1 line)" in text
    assert "sets: 1 line with another network's teacher." in text
    # Where there is no other line of the learner, this one counts.
    text = plain(worth.answer([names["ResNet-18"], taught]))
    assert "Of 2 learners and sets" in text and "Not counted" not in text
    # A third teacher's opinion is that teacher's.
    third = worth.replace(taught, taught="resnet34", agreement=41.0)
    text = plain(worth.crossed([names["ResNet-18"], third]))
    assert "The teacher of ResNet-34 classifies 41.0 %" in text


def late(network="resnet18", run="late", made=True):
    """Rows of the sets of HOME, or of others, learnt in 120 epochs."""
    given = [{"selected_from": f"data/selected/run-{a}"} for a in (0.2, 0.0)]
    cell, given = ("selected", given) if made else (worth.CCFS, [{}, {}])
    return rows(
        (cell, 0.2, [72, 71, 73], given[0]),
        (cell, 0.0, [70, 71, 72], given[1]),
        ("random", 0.2, [69, 69, 70], {}),
        network=network,
    ).assign(run=run, **{"recipe.epochs": 120})


def test_sets_that_are_learnt_for_longer_are_shown_and_not_counted():
    home, other = worth.decompose(pandas.concat([late(), rows(*HOME)]))
    assert (home.epochs, other.epochs) == (60, 120)
    assert home.name.endswith(": ResNet-18, 60 epochs")
    assert other.name.endswith(": ResNet-18, 120 epochs")
    first, second = plain(worth.longer([home, other])).split("\n")
    assert first.startswith(f"- {home.name}: selection +2.3 points")
    assert second.startswith(f"- {other.name}: selection +1.7 points")
    assert "Random images: 64.1 %." in first and "Random images: 69.3 %." in second
    text = plain(worth.answer([home, other]))
    assert "Of 1 learner and set on" in text
    assert "sets: 1 line with more epochs." in text
    assert "two lengths of time" in plain(worth.longer([home]))
    last = worth.replace(other, epochs=180)
    assert plain(worth.longer([last, home, other])).count("\n") == 2


def test_other_sets_and_other_networks_are_no_longer_training():
    for more in (late(made=False), late(network="resnet10")):
        both = worth.decompose(pandas.concat([rows(*HOME), more]))
        assert len(both) == 2
        assert "Of 2 learners and sets" in plain(worth.answer(both))
        assert "two lengths of time" in plain(worth.longer(both))


def test_own_rows_may_be_of_sets_that_the_book_has():
    assert not worth.decompose(late())  # of runs that nobody knows
    (one,) = worth.decompose(late(), others=rows(*HOME))
    assert (one.maker, one.epochs, one.filter) == ("resnet18", 120, 22)


def shifted(part, up: float):
    """A difference that is larger in every seed."""
    moved = tuple((seed, points + up) for seed, points in part.by_seed)
    return part._replace(mean=part.mean + up, by_seed=moved)


def test_several_teachers_are_one_line_between_them():
    runs = [rows(*HOME)]
    for seed, up in ((1, 1.0), (2, 2.0)):
        more = [(c, a, [v + up * (a > 0) for v in x], o) for c, a, x, o in HOME]
        runs.append(rows(*more, teacher_seed=seed).assign(run=f"other{seed}"))
    # Alpha 0 and CCFS of one teacher stand in two runs of equal settings.
    every = worth.decompose(pandas.concat(runs))
    assert sorted(w.teacher for w in every) == [0, 1, 2]
    assert len({w.name for w in every}) == 3  # each says which teacher
    text = plain(worth.teachers(every))
    mean = (201 - 199.1) / 3 + 1  # of CCFS minus alpha 0, which moves by 0, 1, 2
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)  # of three values 1 apart
    low, high = (
        f"{mean + s * half:+.1f}".replace("-", "\N{MINUS SIGN}") for s in (-1, 1)
    )
    assert f"{mean:+.1f} [{low}, {high}]" in text
    assert "more than one teacher" in str(worth.teachers(every[:1]))


def plain(text) -> str:
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


def test_three_networks_with_sets_of_their_own_are_averaged():
    (one,) = worth.decompose(rows(*HOME))
    lines = [replace(one, learner=n, maker=n, source=n) for n in ("b", "convnet", "a")]
    part = one.distilled
    lines[1] = replace(lines[1], distilled=part._replace(mean=part.mean + 3))
    crossed = replace(one, learner="b", distilled=part._replace(mean=100.0))
    text = plain(worth.answer([*lines, crossed]))
    assert "3 pairs of data and a network with sets of its own, a value each:" in text
    # 0.63, 3.63, 0.63: mean 1.63, sd 1.73, t 4.30.
    assert "distilled part +1.6 points, 95 % interval [\u22122.7, +5.9]" in text
    # Two teachers of one network are one value, their mean: 1.63 on average again.
    away = [
        replace(
            lines[1], teacher=n, source=f"t{n}", distilled=part._replace(mean=value)
        )
        for n, value in enumerate((part.mean + 1, part.mean + 5))
    ]
    text = plain(worth.answer([lines[0], *away, lines[2], crossed]))
    assert "3 pairs" in text and "a value each (the mean over its teachers):" in text
    assert "distilled part +1.6 points, 95 % interval [\u22122.7, +5.9]" in text
    again = replace(lines[0], data="CIFAR-100, IPC 100")  # of a teacher that is there
    for few in (lines[:2], [*lines[:2], again]):
        assert "a value each" not in plain(worth.answer([*few, crossed]))


def test_a_larger_set_of_one_teacher_stands_beside_the_smaller_and_counts_once():
    (one,) = worth.decompose(rows(*HOME))
    part, place = one.distilled, one.data.removesuffix("50")
    gains = dict(enumerate([1.0, 2.0, 6.0]))
    moved = tuple((seed, points + gains[seed]) for seed, points in part.by_seed)
    up = part._replace(mean=part.mean + 3, by_seed=moved)
    large = replace(one, data=f"{place}100", ratio=20.0, distilled=up)
    first, second, step = plain(worth.larger([large, one])).split("\n")
    assert first.startswith(f"- {one.name}: selection") and "IPC 100" in second
    assert "The set has 10.0 %" in first and "20.0 %" in second
    assert "paired by seed" in step  # 1, 2, 6: mean 3, sd 2.65, t 4.30
    assert "distilled images +3.0 points, 95 % interval [\u22123.6, +9.6]" in step
    assert "selection 0.0 points" in step
    other = [replace(large, learner="b", maker="b"), replace(large, teacher=1)]
    for alone in ([one], [one, *other], [one, replace(one, epochs=120)]):
        assert "two sizes" in plain(worth.larger(alone))
    # In the average the teacher counts in the size that more teachers have.
    more = [replace(one, teacher=n, source=f"t{n}") for n in (1, 2)]
    away = [replace(one, learner=n, maker=n, source=n) for n in "ab"]
    text = plain(worth.answer([large, one, *more, *away]))
    assert "Over the 3 pairs" in text and f"distilled part +{part.mean:.1f} p" in text
    assert f"Left out, as its teacher counts already: {large.name}." in text


def test_one_network_on_two_data_sets_is_told_apart_a_value_a_teacher():
    (one,) = worth.decompose(rows(*HOME))
    part = one.distilled
    lines = [replace(one, source="first")]
    for n in range(3):  # -1, -2, -3: the interval is 2 * 4.303 / sqrt(3) wide
        less = shifted(part, -1.0 - n - part.mean)
        here = {"dataset": "cifar10", "data": "CIFAR-10, IPC 100", "source": f"t{n}"}
        lines.append(replace(one, teacher=n, distilled=less, **here))
    # A second size of a teacher that is there, and another learner, add nothing.
    lines.append(replace(lines[-1], data="CIFAR-10, IPC 500", distilled=part))
    lines.append(replace(one, learner="b", maker="b", source="b"))
    text = plain(worth.answer(lines))
    assert (
        "one value: ResNet-18 \u22122.0 [\u22124.5, +0.5] on CIFAR-10, IPC 100 (3 t"
        in text
    )
    own = worth.bracketed(part)
    assert f"and {own} on CIFAR-100, IPC 50 (1 teacher, over its seeds)." in text
    assert "by data set" not in plain(worth.answer([one]))


def test_two_teachers_or_recipes_are_never_one_line():
    for name, value in (("teacher_last", 70.0), ("recipe.lr", 0.2)):
        mixed = rows(*HOME[:2], **{name: 1.0}), rows(*HOME[2:], **{name: value})
        assert worth.decompose(pandas.concat(mixed)) == []


def test_what_is_missing_is_no_line_and_no_interval_no_verdict():
    assert worth.decompose(rows(*HOME[:3])) == []  # no random images
    assert worth.decompose(rows(HOME[0], HOME[3])) == []  # no alpha 0
    alone = [(cell, alpha, values[:1], other) for cell, alpha, values, other in HOME]
    (one,) = worth.decompose(rows(*alone))
    assert math.isnan(one.selection.half)
    text = str(worth.answer([one]))
    assert "is not tested in 1;" in text and "below zero" not in text
    apart = rows(*HOME)
    apart.loc[apart["cell"] == "random", "seed"] += 9
    assert worth.decompose(apart) == []  # no seed that all three have
    assert "[" not in str(worth.ledger([one])).splitlines()[-3]


def test_digits_are_shown_and_never_counted():
    shown = worth.decompose(rows(*HOME, dataset="digits"))
    assert len(shown) == 1
    assert "No run on photographs" in str(worth.answer(shown))
    both = worth.decompose(
        pandas.concat([rows(*HOME, dataset="digits"), rows(*HOME, alone=1)])
    )
    assert [w.dataset for w in both] == ["cifar100", "digits"]
    assert "Of 1 learner and set" in str(worth.answer(both)).replace("\u00a0", " ")
    for figure in (worth.parts(both), worth.against(both)):
        assert len(figure._repr_png_()[0]) > 2000


def test_a_search_of_recipes_is_read_from_held_out_accuracies(tmp_path, monkeypatch):
    monkeypatch.setattr(worth.paths, "results", lambda: tmp_path)
    assert not list(tmp_path.iterdir())
    recipes = ((4, 0.1, 45.0), (20, 0.03, 47.0))
    for i, (temperature, lr, last) in enumerate(recipes):
        recipe = {"temperature": temperature, "lr": lr, "weight_decay": 5e-4}
        config = {"dataset": "cifar100", "ipc": 50, "network": "resnet10-w16"}
        config |= {"holdout": 0.1, "recipe": recipe | {"epochs": 60}}
        row = {"seed": 0, "last": last, "best": last}
        here = {"config": config, "rows": [row], "provenance": {}}
        worth.results.write(tmp_path, f"run{i}", "random", **here)
    lines = str(worth.searched()).splitlines()
    assert "10\u202f%" in lines[0] or "10\u00a0%" in lines[0]
    used = {"dataset": "cifar100", "ipc": 50, "network": "resnet10-w16"}
    used |= {"recipe": recipe | {"epochs": 60}}  # the last of the two
    here = {"config": used, "rows": [row], "provenance": {}}
    worth.results.write(tmp_path, "used", "random", **here)
    lines = str(worth.searched()).splitlines()
    body = [line for line in lines if "resnet10-w16" in line]
    assert ["| yes |" in line for line in body] == [True, False]
    assert ["47.0" in body[0], "45.0" in body[1]] == [True, True]  # the best first
    assert "| 20 | 0.03 | 0.0005 | 60 |" in body[0]


def test_runs_of_the_users_own_stand_apart_and_decide_nothing(tmp_path, monkeypatch):
    places = {name: tmp_path / name for name in ("results", "own_results")}
    for name, place in places.items():
        monkeypatch.setattr(worth.paths, name, lambda place=place: place)
        for cell, alpha, values, _ in HOME:
            config = {"dataset": "cifar100", "ipc": 50, "network": "resnet18"}
            config |= {"alpha": alpha, "recipe": {"epochs": 60}}
            measured = [{"seed": i, "last": v, "best": v} for i, v in enumerate(values)]
            here = {"config": config, "rows": measured, "provenance": {}}
            worth.results.write(place, f"run-{alpha}", cell, **here)
    evidence, own = worth.measured()
    assert (evidence.own, own.own) == (False, True)
    assert own.name == f"{evidence.name} (your run)"
    assert "Of 1 learner and set" in str(worth.answer([evidence, own])).replace(
        "\u00a0", " "
    )
