"""Chapter 16 from files written here: panels, grey rows, the finding."""

import numpy as np
import pytest

from ccfs_lib import paper, report, results
from ccfs_lib.arms import CCFS
from ccfs_lib.experiment import preset
from ccfs_lib.report import ranking
from ccfs_lib.report.charts import apart
from ccfs_lib.report.table1 import Read, printed
from ccfs_lib.runtime import paths
from ccfs_lib.table1 import BY_NAME, SHARED, Choices, cells

NAMES = ("random", "forgetting", "dsa", "ccfs", "mtt", "random-bps")
MEASURED = {
    "random-selmatch": 80.0,
    "random": 90.0,
    "forgetting": 60.0,
    "forgetting-teacher": 88.0,
    "dsa": 82.0,
    "dsa-teacher": 91.5,
    CCFS: 95.0,
    "random-bps": 93.0,
}
LITTLE = {"passes": 1000, "share": 0.001}


@pytest.fixture
def read(house):
    """Three seeds of each cell, a point apart; MTT was not measured."""
    e = preset()
    for cell, last in MEASURED.items():
        rows = [
            {"seed": s, "last": last + s + 0.1 * s**2, "best": last + s + 1}
            | {"images": 200, "wanted": 200}
            for s in range(3)
        ]
        config = e.hashed() | (LITTLE if cell.startswith("dsa") else {})
        place = paths.results(), e.run, cell
        results.write(*place, config=config, rows=rows, provenance={})
    return Read(e, NAMES)


def test_panels_hold_what_was_measured_by_each_rows_protocol(read):
    own, shared = read.panel(False), read.panel(True)
    assert list(own) == ["random", "forgetting", "dsa", "ccfs", "random-bps"]
    assert list(shared) == ["random", "forgetting", "dsa", "ccfs"]
    assert float(own["random"]["last"].iloc[0]) == 80.0
    assert float(shared["random"]["last"].iloc[0]) == 90.0
    assert float(own["ccfs"]["last"].iloc[0]) == float(shared["ccfs"]["last"].iloc[0])


def test_a_row_below_a_tenth_is_grey_and_the_line_divides(read):
    lines = report.table1.panel(read).markdown.splitlines()
    grey = [line for line in lines if "<span style" in line]
    # Forgetting is counted in trainings of 30 epochs, published scores in 200.
    assert [
        name in line for name, line in zip(("Forgetting", "DSA"), grey, strict=True)
    ]
    assert "9.0" in grey[0] and "0.100" in grey[1]
    (line,) = [i for i, text in enumerate(lines) if "after the paper" in text][1:]
    assert "BPS" in lines[line + 1] and "CCFS" in lines[line - 1]
    shared = report.table1.panel(read, shared=True).markdown
    assert "BPS" not in shared and "The same teacher for all" in shared


def test_the_finding_names_network_movement_and_little_work(read):
    text = report.ranking.answer(read).markdown
    assert "This is for convnet-16-32" in text
    assert (
        "CCFS, under the same teacher: clearly above Random, Forgetting (grey) and"
        in text
    )
    assert "+10.0" in text  # the same random images under both protocols
    assert "Grey, with less than a tenth of the published work: Forgetting and" in text
    assert "Random images with the teacher, by the recipe of BPS (AdamW and" in text
    trained = "with CCFS's training", "with SelMatch's training"
    assert "+3.0" in text and all(words in text for words in trained)


def test_the_finding_says_what_is_not_measured_and_that_a_leader_is_grey(read):
    text = report.ranking.answer(read).markdown
    assert "too close to call with" not in text.splitlines()[0]
    same = "Of 4\N{NO-BREAK SPACE}sets measured with the same teacher for all"
    assert f"{same}, CCFS has the highest mean (96." in text
    lacking = text.partition("Not measured here, as published: ")[2]
    published, _, shared = lacking.partition("; with the same teacher: ")
    assert "Glister" in published and "MTT" in published and "DSA" not in published
    assert "Full data" in shared and "BPS" not in shared.partition("\n")[0]
    for cell, p in list(read.found.items()):
        if cell[0] == "dsa":
            read.found[cell] = p.assign(last=p["last"].astype(float) + 10)
    text = report.ranking.answer(read).markdown
    assert text.count("with less than a tenth of its published work)") == 2
    assert "all, DSA has the highest mean (102." in text
    # Leaders of labels alone are not those under a teacher.
    assert "published and learned from labels alone, DSA has the highest" in text


def test_all_images_are_told_by_both_trainings(read):
    text = report.ranking.answer(read).markdown
    assert "All training images" not in text
    random = read.found["random", "selmatch"]
    for protocol, rows in zip(
        cells(BY_NAME["full"]),
        (random, random.assign(last=random["last"] - 5)),
        strict=True,
    ):
        read.found["full", protocol] = rows
    read.rows.append(BY_NAME["full"])
    read.work["full"] = read.work["random"]
    text = report.ranking.answer(read).markdown.replace("\N{NO-BREAK SPACE}", " ")
    assert "reach 81.2 % by the teacher's own training and 76.2 % under" in text
    assert "\N{MINUS SIGN}5.0 points" in text


def test_the_finding_says_how_rows_move_and_which_window_the_oracle_took(read):
    text = report.ranking.answer(read).markdown.replace("\N{NO-BREAK SPACE}", " ")
    # Random 80 to 90, Forgetting 60 to 88, DSA 82 to 91.5: DSA stays first.
    moves = "DSA moves by +9.5 points and Forgetting by +28.0, the others in between."
    assert f"{moves} Pairs of sets whose means change their order: 0 of 3." in text
    two = Read(preset(), ("random", "forgetting"))
    text = report.ranking.answer(two).markdown
    assert "the others" not in text and "order: 0 of 1." in text
    assert "The oracle, which" not in text
    for protocol, beta in zip(cells(BY_NAME["oracle-window"]), (0.7, 0.8), strict=True):
        rows = read.found["random", protocol].assign(window_beta=beta)
        read.found["oracle-window", protocol] = rows
    read.rows.append(BY_NAME["oracle-window"])
    read.work["oracle-window"] = read.work["random"]
    text = report.ranking.answer(read).markdown
    assert "takes beta 0.7 as published and beta 0.8 with the teacher: another" in text
    read.found["oracle-window", SHARED] = rows.assign(window_beta=0.7)
    assert "beta 0.7 with the teacher." in report.ranking.answer(read).markdown


def test_equal_means_share_the_first_place(read):
    for cell in ("forgetting", "dsa"):
        read.found[cell, SHARED] = read.found["ccfs", SHARED]
    text = report.ranking.answer(read).markdown
    shared = "all, Forgetting (grey), DSA (grey) and CCFS share the highest mean (96."
    assert shared in text


def test_work_of_our_own_settings_is_not_called_published(read):
    assert ", with less than a tenth of its published" in ranking._asides(read, "dsa")
    read.work["self-evolved"] = read.work["dsa"]
    assert "work of our full settings" in ranking._asides(read, "self-evolved")


@pytest.mark.parametrize("high", [1.06e6, 2.4e6, 4e6, 1e7, 1e9])
def test_the_axis_of_passes_has_two_labels_or_more(high):
    low = 1.01e6
    found = report.table1.ticks(low, high).tick_values(low, high)
    assert 2 <= sum(low <= tick <= high for tick in found) <= 8


def test_one_seed_has_no_interval_and_more_seeds_are_left_out(read):
    one = Read(preset(seeds=1), NAMES)
    assert {len(rows) for rows in one.found.values()} == {1}
    text = report.ranking.answer(one).markdown.replace("\N{NO-BREAK SPACE}", " ")
    few = "not compared, for fewer than 3 seeds in common, with Random, Forgetting"
    assert few in text and "too close to call" not in text
    assert "clearly" not in text


def test_rows_without_a_common_seed_are_not_compared(read):
    """As an interrupted run leaves them."""
    for cell, rows in read.found.items():
        if cell[0] == "dsa":
            read.found[cell] = rows.assign(seed=rows["seed"] + 5)
    text = report.ranking.answer(read).markdown
    assert "seeds in common, with DSA (grey)" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert len(report.table1.gains(read).axes) == 1


def test_a_caption_says_budget_rounding_and_whose_settings(read, house):
    own, shared = (report.table1.panel(read, shared=s).markdown for s in (False, True))
    assert "rounded to bytes" in shared and "rounded to bytes" not in own
    assert "may take" not in own
    limited = Read(preset(), NAMES, Choices(budget=10.0))
    limited.found |= read.found
    limited.rows, limited.work = read.rows, read.work
    text = report.table1.panel(limited).markdown.replace("\N{NO-BREAK SPACE}", " ")
    assert "may take 10 minutes of a core" in text and "our own" not in text
    limited.rows.append(BY_NAME["cudd"])
    limited.work["cudd"] = read.work["dsa"]
    limited.found["cudd", "teacher"] = read.found["ccfs", "teacher"]
    assert "CUDD: of our own settings" in report.table1.panel(limited).markdown


def test_one_row_alone_is_compared_with_nothing(read):
    text = report.ranking.answer(Read(preset(), ("ccfs",))).markdown
    assert "Only CCFS is measured with the same teacher" in text
    assert "under the same teacher: ." not in text and "change their order" not in text


def test_the_panel_with_one_teacher_leaves_out_rows_of_another(read):
    """The same recipe on another machine is another teacher."""
    for cell, rows in read.found.items():
        other = cell[0] in ("dsa", "random-bps")
        read.found[cell] = rows.assign(teacher_last=50.7 if other else 50.9)
    assert list(read.panel(True)) == ["random", "forgetting", "ccfs"]
    assert "dsa" in read.panel(False)
    assert read.other_teacher() == ["dsa"]
    text = report.ranking.answer(read).markdown
    assert "Of 3\N{NO-BREAK SPACE}sets measured with the same teacher for all" in text
    assert "Measured with another teacher of the same recipe" in text
    assert "not in the panel with the same teacher for all: DSA." in text
    # BPS's training, too, has the other teacher; SelMatch's has none.
    (bps,) = [line for line in text.splitlines() if "recipe of BPS" in line]
    assert "with SelMatch's" in bps and "CCFS's training" not in bps


def test_beside_the_oracle_stands_the_window_that_held_out_images_choose(house):
    e, rows = preset(), []
    for s in range(3):
        rows.append({"seed": s, "last": 97.0 + s, "best": 98.0, "images": 200})
        rows[-1] |= {"wanted": 200, "held_last": 90.0 + s, "held_best": 95.5}
    for cell in ("oracle-window", "oracle-window-teacher"):
        place = paths.results(), e.run, cell
        results.write(*place, config=e.hashed(), rows=rows, provenance={})
    read = Read(e, ("oracle-window",))
    lines = report.table1.panel(read).markdown.splitlines()
    (at,) = [i for i, line in enumerate(lines) if "Oracle window" in line]
    assert "98.0 ± 2.5" in lines[at] and "91.0 ± 2.5" in lines[at + 1]
    assert "chosen on held-out training images" in lines[at + 1]
    assert "95.5" in lines[at + 1]
    text = report.ranking.answer(read).markdown
    assert ", chosen by the test split" in text and "98.0" in text


def test_figures_draw_every_row_but_random(read):
    figure = report.table1.scatter(read)
    names = {line.get_label() for line in figure.axes[0].lines}
    assert {
        "_forgetting",
        "_dsa",
        "_ccfs",
        "random",
    } <= names and "_random" not in names
    # Names are in a column, in the order of the accuracies.
    texts = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    assert {x for x, _ in texts.values()} == {1.04}
    assert texts["Forgetting"][1] < texts["DSA"][1] < texts["CCFS"][1]
    marks = report.table1.gains(read).axes[0]
    assert {line.get_label() for line in marks.lines} >= {
        f"_{title} \N{MINUS SIGN} random" for title in ("Forgetting", "DSA", "CCFS")
    }


def test_names_that_would_hide_each_other_move_apart():
    assert apart([0.1, 0.5], 0.1).tolist() == [0.1, 0.5]
    assert apart([0.5, 0.5], 0.1).tolist() == pytest.approx([0.45, 0.55])
    assert apart([0.2, 0.99, 1.0], 0.1).tolist() == pytest.approx([0.2, 0.9, 1.0])
    assert apart([0.0, 0.0], 0.1).tolist() == pytest.approx([0.0, 0.1])
    crowded = apart(sorted(np.random.default_rng(0).random(15)), 0.055)
    assert np.diff(crowded).min() > 0.0549 and 0 <= crowded[0] < crowded[-1] <= 1


def test_the_papers_numbers_stand_beside_whole_data_sets_only():
    whole = preset("cifar100", ipc=50)
    theirs = paper.value(1, method="dsa", dataset="cifar100", ipc=50)
    assert printed(BY_NAME["dsa"], whole) == theirs
    assert printed(BY_NAME["full"], whole) == paper.full("cifar100")
    assert printed(BY_NAME["random-bps"], whole) is None
    assert printed(BY_NAME["dsa"], preset("cifar100", ipc=50, classes=10)) is None


def test_of_shrunk_images_the_papers_column_names_its_size(house):
    small = preset("cifar100", ipc=50, image_size=16)
    whole = preset("cifar100", ipc=50)
    assert printed(BY_NAME["dsa"], small) == printed(BY_NAME["dsa"], whole) > 0
    assert report.table1._theirs(small) == "paper, 32 px"
    assert report.table1._theirs(preset("cifar100")) == "paper"
    assert report.table1._theirs(preset()) == "paper"


def test_the_terminal_has_both_panels(read):
    text = report.table1.plain(preset(), NAMES, Choices())
    assert "as published" in text and "the same teacher for all" in text
    assert "MTT" not in text
    # The columns of the page, images, minutes and bytes among them; a star is grey.
    head, *lines = text.splitlines()[2:]
    assert head.split()[:1] == ["row"] and head.endswith("share  here    MB")
    assert {len(line) for line in lines[:4]} == {len(head)}
    (dsa,) = [line for line in lines[:6] if line.startswith("DSA *")]
    assert "83.2 ± 3.0" in dsa and "  200  " in dsa and " 0.001 " in dsa
    assert "* less than a tenth of the published work" in text
    assert text.index("\nafter the paper\n") < text.index("Random, BPS")


def test_panels_without_random_or_without_rows_are_said(house):
    empty = Read(preset(), NAMES)
    assert "No row of the paper's" in report.ranking.answer(empty).markdown
    assert "not measured" in report.table1.gains(empty).markdown
    rows = [{"seed": s, "last": 60.0 + s, "best": 70, "images": 200} for s in range(3)]
    config = preset().hashed()
    results.write(
        *(paths.results(), preset().run, "forgetting"),
        config=config,
        rows=[row | {"wanted": 200} for row in rows],
        provenance={},
    )
    alone = Read(preset(), NAMES)
    text = report.ranking.answer(alone).markdown
    assert "Only Forgetting is measured as published and learned from labels" in text
    assert "after the paper" not in report.table1.panel(alone).markdown


def test_the_papers_numbers_stand_in_the_panel_of_their_protocol(read, monkeypatch):
    monkeypatch.setattr(report.table1, "printed", lambda *_: 12.3)
    own, shared = (
        {
            name: "12.3" in line
            for line in report.table1.panel(read, shared=which).markdown.splitlines()
            for name in ("Forgetting", "CCFS")
            if f"{name} |" in line or f"{name}</span> |" in line
        }
        for which in (False, True)
    )
    assert own == {"Forgetting": True, "CCFS": True}
    assert shared == {"Forgetting": False, "CCFS": True}
