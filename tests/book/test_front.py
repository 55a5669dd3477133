"""The front page's abstract follows the intervals, and its figures the page's theme."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ccfs_lib import results

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
front, findings, dark = map(import_module, ("front", "findings", "dark"))
CCFS = "simple-misclassified"
WHERE = {"dataset": "cifar100", "ipc": 50, "alpha": 0.2, "scale": "paper"}
WHERE |= {"train": "a", "network": "resnet18"}
NEAR = [60.0, 61.0, 62.0]


def measure(folder, arm, last, run="c", **config):
    rows = [{"seed": i, "last": x, "best": x} for i, x in enumerate(last)]
    config = WHERE | config
    results.write(folder, run, arm, config=config, rows=rows, provenance={})


def shifted(points: float, spread: float = 0.1) -> list[float]:
    return [x + points + spread * (i - 1) for i, x in enumerate(NEAR)]


def sentence(text: str, name: str) -> str:
    (line,) = [s for s in text.splitlines() if s.startswith(f"- **{name}")]
    return line


@pytest.mark.parametrize(
    ("gain", "spread", "ending"),
    [
        (3.0, 0.1, "points**"),
        (-3.0, 0.1, "points**, a loss"),
        (0.1, 2.0, "too close to call"),
    ],
)
def test_the_first_sentence_has_a_form_for_every_sign(tmp_path, gain, spread, ending):
    measure(tmp_path, CCFS, shifted(gain, spread))
    measure(tmp_path, "random", NEAR)
    first = sentence(front.abstract(tmp_path), "CIFAR-100, IPC 50, ResNet-18.")
    reached = f"{61 + gain:.1f} % (the paper's best epoch 71.5 %)"
    assert reached in first.replace("\xa0", " ") and "61.0" in first
    told = "(alpha 0.2, the authors' code has 0.4; 3\xa0seeds)."
    assert first.endswith(f"{ending} {told}")


def test_the_teacher_and_the_parts_are_said_where_they_were_measured(tmp_path):
    measure(tmp_path, CCFS, shifted(3))
    measure(tmp_path, "random", NEAR)
    text = front.abstract(tmp_path)
    assert "The teacher" not in text and "The parts" not in text
    measure(tmp_path, "random-hard", shifted(-20))
    measure(tmp_path, CCFS, shifted(2.5, 1.5), run="c-alpha0", alpha=0.0)
    text = front.abstract(tmp_path)
    teacher = sentence(text, "The teacher")
    assert "41.0" in teacher and "worth +20.0 [" in teacher and "set +3.0." in teacher
    parts = sentence(text, "The parts")
    assert "+2.5" in parts and "too close to call" in parts and "is open" in parts
    measure(tmp_path, CCFS, shifted(4.0), run="c-alpha0", alpha=0.0)
    parts = sentence(front.abstract(tmp_path), "The parts")
    assert "gains +4.0" in parts and "a loss" in parts and "equal" not in parts


def test_other_teachers_and_other_learners_are_counted_apart(tmp_path):
    for run, gain, config in (
        ("c", 3, {}),
        ("d", -3, {"train": "b", "scale": "laptop"}),
        ("e", 2, {"train": "e", "scale": "laptop"}),
        ("f", 2, {"train": "f", "dataset": "cifar10", "image_size": 16}),
        ("g", 2, {"train": "g", "dataset": "tiny-imagenet", "classes": 20}),
        ("c-on-convnet", 0, {"evaluation_network": "convnet"}),
    ):
        measure(tmp_path, CCFS, shifted(gain, 0.1 if gain else 2.0), run, **config)
        measure(tmp_path, "random", NEAR, run, **config)
    text = front.abstract(tmp_path).replace("\xa0", " ")
    first = sentence(text, "In short")
    assert "in 4 of 5 runs and clearly worse in 1, each with its own teacher" in first
    assert "(1 on shrunken images): ahead on CIFAR-100 (2), CIFAR-10 and" in first
    assert "and Tiny-ImageNet (20 classes); behind on CIFAR-100." in first
    line = sentence(text, "Elsewhere")
    assert line.endswith("images, 0.0 [\u22125.0, +5.0] (ConvNet) points.")
    # Its selection alone is another run, learnt by the same network.
    other = {"evaluation_network": "convnet", "alpha": 0.0}
    measure(tmp_path, CCFS, shifted(2), "c-alpha0-on-convnet", **other)
    line = sentence(front.abstract(tmp_path), "Elsewhere")
    assert "(ConvNet; selection alone +2.0 [+1.8, +2.2]) points." in line


def test_what_is_clear_in_how_many_runs_comes_first(tmp_path):
    for run, ccfs, alpha0 in (("a", 3, 4), ("b", -3, -4), ("c", 2, 1)):
        own = {"train": run, "scale": "laptop"}
        measure(tmp_path, CCFS, shifted(ccfs), run, **own)
        measure(tmp_path, "random", NEAR, run, **own)
        measure(tmp_path, CCFS, shifted(alpha0), f"{run}-alpha0", alpha=0.0, **own)
    text = front.abstract(tmp_path).replace("\xa0", " ")
    first = text.splitlines()[0]
    assert (
        "in 2 of 3 runs and clearly worse in 1, each with its own teacher: ahead on"
        in first
    )
    assert "any (alpha 0) in 2 of 3 runs and clearly worse in 1, each with" in first
    assert "behind on CIFAR-100; " not in first and first.endswith(
        "behind on CIFAR-100."
    )


def test_the_first_sentence_has_the_scale_and_an_unequal_batch(tmp_path):
    """A set two images short of 5,000 has half the batch, by the letter of the code."""
    recipe = {"epochs": 100, "batch_rule": "released", "batch_size": 64}
    config = {"recipe": recipe, "teacher_last": 75.25}
    for arm, images in ((CCFS, [4998, 5000, 5000]), ("random", [5000] * 3)):
        rows = [
            {"seed": i, "last": 60 + i, "best": 60 + i, "images": n, "wanted": 5000}
            for i, n in enumerate(images)
        ]
        place = tmp_path, "c", arm
        results.write(*place, config=WHERE | config, rows=rows, provenance={})
    first = sentence(front.abstract(tmp_path), "CIFAR-100, IPC 50, ResNet-18.")
    assert "100\xa0epochs, the paper has 500;" in first
    assert "one teacher, 75.2" in first
    assert "In 1 of 3 seeds CCFS was trained in batches of 32, not 64" in first
    assert "about 2 times as many steps" in first
    assert "since its set has 2 of 5,000 images too few. In the other" in first
    rows = [
        {"seed": i, "last": 58 + i, "best": 60, "images": 5000, "wanted": 5000}
        for i in range(3)
    ]
    config |= {"alpha": 0.0}
    results.write(
        *(tmp_path, "c-alpha0", CCFS), config=WHERE | config, rows=rows, provenance={}
    )
    parts = sentence(front.abstract(tmp_path), "The parts")
    assert parts.endswith("(with equal batches, in the other 2 seeds, +2.0).")


def lines(text: str, name: str) -> dict[str, list[str]]:
    """Read the table below a sentence: the cells of every line by its first one."""
    _, found, rest = text.replace("\xa0", " ").partition(name)
    table = [s for s in rest.split("\n\n")[1].splitlines() if found]
    cells = [[c.strip() for c in s.strip("|").split("|")] for s in table[2:]]
    return {first: others for first, *others in cells}


def test_all_networks_with_alpha_0_are_averaged_from_three_on(tmp_path):
    """Two teachers of one network are one value, their mean."""
    # CCFS, alpha 0; minus random.
    worth = {"a": (1, 4), "b": (3, 4), "c": (1, 4), "c-again": (3, 6)}
    for run, gains in worth.items():
        other = {"network": f"net-{run[0]}", "teacher_network": f"net-{run[0]}"}
        other["scale"] = "laptop"
        other["teacher_seed"] = int(run == "c-again")
        enough = run == "c-again"  # three are there before it
        assert ("pairs of data and network" in front.averages(tmp_path)) == enough
        both = zip((run, f"{run}-alpha0"), gains, (0.2, 0.0), strict=True)
        for name, gain, alpha in both:
            measure(tmp_path, CCFS, shifted(gain), name, **other | {"alpha": alpha})
        measure(tmp_path, "random", NEAR, run, **other)
    text = front.averages(tmp_path)
    assert "All 3 pairs of data and network" in text
    # Means 4, 4, 5 and -3, -1, -3: 4.33 +- 4.303 * 0.577 / sqrt(3), -2.33 +- 2.87.
    both = ["+4.3 [+2.9, +5.8]", "\u22122.3 [\u22125.2, +0.5]"]
    assert lines(text, "All") == {"CIFAR-100, IPC 50, 3 pairs": both}


def test_a_data_set_of_one_pair_has_its_teachers_or_its_seeds(tmp_path):
    def pair(data, network, gains, **config):
        own = {"dataset": data, "network": network, "teacher_network": network}
        own |= {"scale": "laptop", "train": data} | config
        name = "-".join([data, network, *map(str, config.values())])
        for run, gain, alpha in (name, gains[0], 0.2), (f"{name}-0", gains[1], 0.0):
            measure(tmp_path, CCFS, shifted(gain), run, **own | {"alpha": alpha})
        measure(tmp_path, "random", NEAR, name, **own)

    for network in ("one", "two"):
        pair("cifar100", network, (1, 4))
    for seed, gain in enumerate((3, 4, 5)):
        pair("cifar10", "one", (1, gain), teacher_seed=seed)
    pair("tiny-imagenet", "one", (6, 5))
    found = lines(front.averages(tmp_path), "All")
    # Three teachers 3, 4, 5: 4 +- 4.303 / sqrt(3); of two pairs no interval.
    three = ["+4.0 [+1.5, +6.5]", "\u22123.0 [\u22125.5, \u22120.5]"]
    assert found["CIFAR-10, IPC 50, 3 teachers"] == three
    assert found["CIFAR-100, IPC 50, 2 pairs"] == ["+4.0", "\u22123.0"]
    seeds = ["+5.0 [+4.8, +5.2]", "+1.0 [+1.0, +1.0]"]
    assert found["Tiny-ImageNet, IPC 50, 3 seeds"] == seeds and len(found) == 3
    # Another size of a teacher that counts already stands below the averages.
    more = {"dataset": "tiny-imagenet", "network": "one", "teacher_network": "one"}
    more |= {"scale": "laptop", "train": "tiny-imagenet", "ipc": 100}
    for run, gain, alpha in ("z", 3, 0.2), ("z-0", 1, 0.0):
        measure(tmp_path, CCFS, shifted(gain), run, **more | {"alpha": alpha})
    measure(tmp_path, "random", NEAR, "z", **more)
    again = lines(front.averages(tmp_path), "All")
    added = ["+1.0 [+0.8, +1.2]", "+2.0 [+2.0, +2.0]"]
    assert again == found | {
        "Tiny-ImageNet, IPC 100, 3 seeds (teacher counted above)": added
    }


def test_both_roles_of_distilled_images_are_told_where_they_are_apart(tmp_path):
    assert front.acting(tmp_path) == ""
    for arm, gain in ((CCFS, 3), ("ccfs-filters", 1), ("ccfs-set", 2.5)):
        measure(tmp_path, arm, shifted(gain))
    measure(tmp_path, "random", NEAR)
    assert front.acting(tmp_path) == ""
    measure(tmp_path, "ccfs-neither", NEAR)
    text = front.acting(tmp_path)
    assert "Each number is the mean over having and not having the other role" in text
    # Filters: (3 - 2.5 + 1 - 0) / 2; set: (3 - 1 + 2.5 - 0) / 2.
    ((where, found),) = lines(text, "Where distilled images act").items()
    assert where == "CIFAR-100, IPC 50, ResNet-18"
    assert found[0] == "+0.7 [+0.6, +0.9]" and found[1].startswith("+2.2 [")
    assert found[2] == "3"
    digits = {"dataset": "digits", "train": "d", "run": "d"}
    for arm in (CCFS, "ccfs-filters", "ccfs-set", "ccfs-neither"):
        measure(tmp_path, arm, NEAR, **digits)
    assert front.acting(tmp_path) == text


def test_nothing_measured_is_said_and_drawn_as_nothing(tmp_path):
    assert front.abstract(tmp_path) == findings.NOTHING
    assert front.figure(tmp_path, tmp_path) == front.others(tmp_path, tmp_path) == ""
    measure(tmp_path, CCFS, NEAR)
    assert "No run" in front.abstract(tmp_path)


def test_the_figure_has_a_picture_a_drawing_and_words(tmp_path):
    measure(tmp_path, CCFS, shifted(5))
    measure(tmp_path, "random", NEAR)
    assert front.figure(tmp_path, tmp_path) == ""  # neither part is measured
    measure(tmp_path, CCFS, shifted(3), run="c-alpha0", alpha=0.0)
    text = front.figure(tmp_path, tmp_path)
    assert "_generated/forest.png" in text
    assert "CIFAR-100, IPC 50, ResNet-18, +3.0" in text
    assert Image.open(tmp_path / "forest.png").width > 500
    assert (tmp_path / "forest.svg").read_text("utf-8").startswith("<svg")
    # The whole and the paper's stages have a figure of their own, beside the verdicts.
    assert "same teacher: CIFAR-100, IPC 50" in front.others(tmp_path, tmp_path)
    measure(tmp_path, "distilled", shifted(-5))
    assert "images only: CIFAR-100, IPC 50" in front.others(tmp_path, tmp_path)
    assert front.figure(tmp_path, tmp_path) == text
    assert (tmp_path / "steps.svg").is_file()


# -- dark renderings -------------------------------------------------------------------


def sheet() -> Image.Image:
    """A card with a word, a line and a photograph of 96 pixels."""
    picture = Image.new("RGB", (300, 200), dark.CARD)
    draw = ImageDraw.Draw(picture)
    draw.text((10, 10), "label", fill="#22272B")
    draw.line((10, 60, 120, 60), fill="#0072B2", width=3)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    picture.paste(Image.fromarray(noise), (180, 50))
    return picture


@pytest.mark.parametrize("gallery", [True, False])
def test_a_dark_rendering_has_the_pages_ground_and_keeps_photographs(gallery):
    light = sheet()
    found = np.asarray(dark.rendering(light, gallery).convert("RGB")).astype(int)
    assert tuple(found[0, 0]) == dark.PAGE and tuple(found[-1, -1]) == dark.PAGE
    patch = np.asarray(light)[50:146, 180:276].astype(int)
    near = 0 if gallery else 40  # a drawing has a palette
    assert np.abs(found[50:146, 180:276] - patch).mean() <= near
    assert found[10:25, 10:50].max() > 150, "dark ink stayed dark"
    red, green, blue = found[60, 60]
    assert blue > green > red and blue > 200, "a blue line is a light blue one"


def test_what_is_dark_on_the_card_is_light_on_the_page():
    ink = Image.new("RGB", (10, 10), "#22272B")
    (red, *_) = dark.rendering(ink, False).convert("RGB").getpixel((5, 5))
    assert red > 200
