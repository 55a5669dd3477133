"""The explorer: each image's reasons, its picture, its place; and the page itself."""

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.manifold import trustworthiness

from ccfs_lib import explorer, report
from ccfs_lib.curriculum import Filter, run, selected
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.explorer import embedding, sprite
from ccfs_lib.explorer.atlas import BEFORE, BEHIND, COARSE, PICKED, TIED, VETOED
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.explorer import packed
from ccfs_lib.scores import untied
from ccfs_lib.select import quotas

STATIC = Path(__file__).parents[2] / "book" / "_static" / "explorer"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000  # ms; a busy machine is no broken page
ARRAYS = {"u1": "u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}


def unpacked(column: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(column["data"]), ARRAYS[column["type"]])


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


# -- reasons ---------------------------------------------------------------------------


def story(seed=0, score=True, phases=3, **changes):
    """Stages and records of 120 images, often mistaken by teacher and filters."""
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.integers(0, 3, 120))
    train = ImageSet("toy", torch.zeros(120, 3, 8, 8).byte(), labels, ("a", "b", "c"))
    teacher = random.integers(0, 3, 120) * (random.random(120) < 0.2)
    teacher = np.where(teacher, teacher, labels.numpy())
    e = preset(ipc=10, alpha=0.2, curricula=phases, **changes)
    difficulty = random.integers(0, 6, 120).astype(float) if score else None

    def train_filter(synthetic, number):
        answers = np.where(random.random(120) < 0.5, labels, random.integers(0, 3, 120))
        return Filter(answers, random.integers(0, 4, 120).astype(float), 50.0)

    rules = {"coarse": e.coarse, "fine": e.fine, "seed": seed}
    rules["teacher_predictions"] = teacher if e.teacher_correct else None
    rules["ties"] = untied(difficulty, seed) if e.ties == "random" else None
    parts = train, train.subset([0, 1]), difficulty, quotas(8, phases), train_filter
    stages = SimpleNamespace(
        experiment=e,
        train=train,
        difficulty=difficulty,
        teacher=SimpleNamespace(predictions=teacher),
    )
    return stages, list(run(*parts, **rules))


def reason(stages, records, phase: int, i: int) -> tuple[int, int]:
    """One image in one phase, as a person would work it out."""
    e, now, labels = stages.experiment, records[phase], stages.train.labels.tolist()
    before = {int(k) for r in records[:phase] for k in r.chosen}
    answers, teacher = now.filter.predictions, stages.teacher.predictions
    hard = stages.difficulty
    hard = -now.filter.true_logit if hard is None else hard

    def wanted(k):
        return (answers[k] != labels[k]) == (e.coarse == "misclassified")

    def trusted(k):
        return not e.teacher_correct or teacher[k] == labels[k]

    if i in before:
        return BEFORE, 0
    if not wanted(i):
        return COARSE, 0
    if not trusted(i):
        return VETOED, 0
    rivals = [k for k in range(len(labels)) if labels[k] == labels[i]]
    rivals = [k for k in rivals if k not in before and wanted(k) and trusted(k)]
    sign = -1 if e.fine == "hard" else 1
    rivals.sort(key=lambda k: (sign * hard[k], k))
    rank = rivals.index(i) + 1
    if rank <= now.quota:
        return PICKED, rank
    last = rivals[min(now.quota, len(rivals)) - 1]
    return (TIED if hard[i] == hard[last] else BEHIND), rank


@pytest.mark.parametrize("fine", ["simple", "hard"])
@pytest.mark.parametrize("coarse", ["misclassified", "classified"])
@pytest.mark.parametrize("teacher_correct", [True, False])
def test_reasons_are_those_of_a_person_with_a_pencil(fine, coarse, teacher_correct):
    rules = {"fine": fine, "coarse": coarse, "teacher_correct": teacher_correct}
    stages, records = story(seed=3, **rules)
    codes, ranks = explorer.fates(stages.train.labels.numpy(), records)
    wanted = [
        [reason(stages, records, phase, i) for i in range(120)] for phase in range(3)
    ]
    assert np.stack([codes, ranks], -1).tolist() == np.array(wanted).tolist()
    seen = set(codes.ravel().tolist())
    assert seen == {PICKED, BEFORE, COARSE, BEHIND, TIED} | ({VETOED} & seen)
    assert (VETOED in seen) == teacher_correct


def test_with_logits_every_phase_has_its_own_difficulty():
    stages, records = story(score=False)
    codes, ranks = explorer.fates(stages.train.labels.numpy(), records)
    for phase, i in [(0, 5), (1, 50), (2, 119), (2, 0), (1, 77)]:
        expected = reason(stages, records, phase, i)
        assert (codes[phase, i], ranks[phase, i]) == expected


def test_a_random_choice_has_the_ranks_of_its_own_draw():
    stages, records = story(seed=2, fine="random")
    codes, ranks = explorer.fates(stages.train.labels.numpy(), records)
    for phase, now in enumerate(records):
        picked = np.flatnonzero(codes[phase] == PICKED)
        assert picked.tolist() == sorted(now.chosen.tolist())
        candidates = np.isin(codes[phase], (PICKED, BEHIND))
        assert (candidates == (ranks[phase] > 0)).all()
        # Chosen class by class in the order of the draw: 1, 2, ... within each.
        for c in range(3):
            mine = now.chosen[stages.train.labels.numpy()[now.chosen] == c]
            assert ranks[phase, mine].tolist() == list(range(1, len(mine) + 1))
            pool = ranks[phase, candidates & (stages.train.labels.numpy() == c)]
            assert sorted(pool.tolist()) == list(range(1, now.pool[c] + 1))


def test_ranks_are_those_of_the_draw_where_ties_are_broken_at_random():
    stages, records = story(seed=4, ties="random")
    labels = stages.train.labels.numpy()
    codes, ranks = explorer.fates(labels, records)
    for phase, now in enumerate(records):
        for c in range(3):
            mine = now.chosen[labels[now.chosen] == c]
            assert ranks[phase, mine].tolist() == list(range(1, len(mine) + 1))
            last, values = stages.difficulty[mine[-1]], stages.difficulty
            tied = np.flatnonzero((codes[phase] == TIED) & (labels == c))
            assert (values[tied] == last).all()
            assert (values[(codes[phase] == BEHIND) & (labels == c)] > last).all()


def test_the_table_counts_every_image_once_in_every_phase():
    stages, records = story()
    text = report.explorer.fates(stages, records).markdown
    counts = np.array(
        [re.findall(r"\| (\d+)", line) for line in text.splitlines()[4:-2]]
    )
    assert counts.astype(int).sum(0).tolist() == [120] * 3
    picked = next(line for line in text.splitlines() if line.startswith("| selected"))
    counts = " | ".join(str(len(r.chosen)) for r in records)
    assert picked == f"| selected | {counts} |"


# -- samples, pictures, columns --------------------------------------------------------


def test_a_small_set_is_shown_whole_and_a_large_one_with_all_that_was_picked():
    assert explorer.shown(50, np.array([3]), 50).tolist() == list(range(50))
    chosen = np.random.default_rng(1).permutation(1000)[:60]
    index = explorer.shown(1000, chosen, 200)
    assert len(set(index.tolist())) == 200 and (np.diff(index) > 0).all()
    assert set(chosen.tolist()) <= set(index.tolist())
    others = np.setdiff1d(index, chosen)
    assert 350 < others.mean() < 650  # from everywhere
    assert index.tolist() == explorer.shown(1000, chosen, 200).tolist()
    many = explorer.shown(1000, np.arange(500), 200)
    assert len(many) == 200 and (many < 500).sum() == 150


@pytest.mark.parametrize("most", [1, 0, 2.5, True, "all"])
def test_a_wrong_number_of_points_is_refused_before_anything_is_trained(most):
    with pytest.raises(InputError, match="most is"):
        explorer.build(None, most=most)


def noise(count: int, side: int, seed=0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    low = random.integers(0, 256, (count, 3, 2, 2)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(low), (side, side))
    return smooth.byte()


def test_pictures_are_where_the_page_looks_for_them():
    images = noise(23, 8)
    uri, columns, side = sprite.sheet(images, 100_000)
    sheet = opened(uri)
    assert (sheet.format, side) == ("PNG", 8)
    for i, image in enumerate(images):
        x, y = i % columns * side, i // columns * side
        tile = np.asarray(sheet.convert("RGB"))[y : y + side, x : x + side]
        assert (tile == image.permute(1, 2, 0).numpy()).all()


def test_pictures_that_are_too_many_lose_quality_then_are_refused():
    rough = torch.randint(0, 256, (200, 3, 32, 32), generator=torch.manual_seed(0))
    rough = rough.byte()
    sizes = []
    for budget in (200_000, 100_000):
        uri, _, _ = sprite.sheet(rough, budget)
        assert opened(uri).format == "JPEG"
        sizes.append(len(uri))
        assert len(uri) <= budget
    assert sizes[0] > sizes[1]
    with pytest.raises(InputError, match="200 images do not fit into 1,000 bytes"):
        sprite.sheet(rough, 1000)


def test_lossy_pictures_do_not_run_into_each_other():
    images = torch.zeros(100, 3, 32, 32).byte()
    images[::2] = torch.tensor([255, 40, 0])[:, None, None].byte()
    images[:, :, ::2, 1::2] //= 2  # something to compress
    uri, columns, side = sprite.sheet(images, 9_000)
    sheet = opened(uri)
    assert sheet.format == "JPEG"
    pixels = np.asarray(sheet.convert("RGB")).astype(int)
    for i in (0, 1, 44, 55, 99):
        x, y = i % columns * side, i // columns * side
        red = pixels[y + 4 : y + 28, x + 4 : x + 28, 0].mean()
        assert (red > 150) == (i % 2 == 0)


def test_large_pictures_are_averaged():
    images = torch.zeros(4, 3, 64, 64).byte()
    images[:, :, ::2] = 200
    uri, _, side = sprite.sheet(images, 10_000)
    assert side == 32 and set(np.asarray(opened(uri)).ravel().tolist()) == {100}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0, 255]), "u1"),
        (np.array([256, 0]), "u2"),
        (np.array([70_000]), "u4"),
        (np.array([-1.5, 0.25]), "f4"),
        (np.zeros(0, np.int64), "u1"),
        (np.array([[3, 1], [2, 0]], np.int16), "u1"),
    ],
)
def test_columns_come_back(values, kind):
    column = sprite.column(values)
    assert column["type"] == kind
    assert unpacked(column).tolist() == values.ravel().tolist()


# -- the map ---------------------------------------------------------------------------


def test_strangers_are_counted_among_the_ten_nearest():
    points = np.random.default_rng(0).normal(size=(60, 4))
    labels = np.arange(60) % 3
    found = embedding.strangers(points, labels)
    for i in range(60):
        away = ((points - points[i]) ** 2).sum(1)
        near = [k for k in np.argsort(away) if k != i][:10]
        assert found[i] == sum(labels[k] != labels[i] for k in near)


def test_neighbours_stay_neighbours_and_few_points_are_enough():
    blobs = np.random.default_rng(1).normal(size=(90, 12))
    blobs[30:60, 0] += 20
    blobs[60:, 1] += 20
    xy = embedding.flat(embedding.reduced(blobs))
    assert xy.dtype == np.float32 and xy.min() == 0 and xy.max() == 1
    assert np.ptp(xy[:, 0]) >= np.ptp(xy[:, 1])
    # In chance's favour a layout is worth 0.5.
    assert trustworthiness(blobs, xy, n_neighbors=5) > 0.8
    assert embedding.flat(embedding.reduced(blobs[:3])).shape == (3, 2)


@pytest.fixture
def atlas(house, mini):
    return explorer.build(Pipeline(mini()), most=300)


def test_an_atlas_tells_what_the_stages_hold(atlas, mini):
    stages = Pipeline(mini())
    records, train = list(stages.phases(0)), stages.train
    real = len(atlas.index)
    assert (real, atlas.total, len(atlas.labels)) == (300, len(train), 310)
    assert torch.equal(atlas.images[:real], train.images[atlas.index])
    assert torch.equal(atlas.images[real:], stages.distilled(1).images)
    assert atlas.labels[:real].tolist() == train.labels[atlas.index].tolist()
    hard = stages.difficulty
    for k, i in enumerate(atlas.index):
        phase = next((r.phase for r in records if i in r.chosen), 0)
        assert atlas.picked[k] == phase
        assert atlas.teacher[k] == stages.teacher.predictions[i]
        assert atlas.difficulty[0, k] == hard[i]
        assert atlas.easier[0, k] == 100 * (hard < hard[i]).sum() // len(train)
        for j, record in enumerate(records):
            assert atlas.answers[j, k] == record.filter.predictions[i]
    assert atlas.chosen == len(selected(records)) == (atlas.picked > 0).sum()


def test_equal_stages_give_equal_bytes(atlas, mini, monkeypatch, tmp_path):
    first = packed(atlas)
    assert packed(explorer.build(Pipeline(mini()), most=300)) == first  # from the cache
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "another"))
    assert packed(explorer.build(Pipeline(mini()), most=300)) == first


def test_the_finding_says_what_the_atlas_holds(atlas, mini):
    stages = Pipeline(mini())
    records = list(stages.phases(0))
    text = report.explorer.answer(stages, records, atlas).markdown
    chosen, labels = selected(records), stages.train.labels.numpy()
    assert f"({len(chosen)} of 1,352)" in text
    idle = sum(
        all(r.filter.predictions[i] == labels[i] for r in records) for i in range(1352)
    )
    assert f"({idle:,} of 1,352) were never candidates" in text
    inside = atlas.picked > 0
    assert f"{atlas.strangers[inside].mean():.2f} on average" in text
    assert f"against {atlas.strangers[~inside].mean():.2f}" in text


def test_the_opposite_of_nearer_is_told_as_such():
    picked = np.array([1, 1, 1, 0, 0, 0])
    for strangers, said in (
        ([8, 9, 8, 1, 0, 1], "nearer to other classes than those never selected: **h"),
        (
            [1, 0, 1, 8, 9, 8],
            "farther from other classes than those never selected: **h",
        ),
        (
            [1, 5, 9, 1, 5, 8],
            "nearer to other classes than those never selected: **too",
        ),
    ):
        atlas = SimpleNamespace(picked=picked, strangers=np.array(strangers))
        assert said in report.explorer._borders(atlas)


def test_without_a_first_filter_nobody_answers(house, mini):
    stages = Pipeline(mini(alpha=0.0))
    records = list(stages.phases(0))
    atlas = explorer.build(stages, most=60)
    assert atlas.unfiltered == (1,) and json.loads(packed(atlas))["unfiltered"] == [1]
    text = report.explorer.answer(stages, records, atlas).markdown
    assert "phase 1 had no filter (alpha 0)" in text and "every filter" not in text


def test_nothing_but_distilled_images_is_an_atlas_too(house, mini):
    stages = Pipeline(mini(alpha=1.0))
    atlas = explorer.build(stages, most=60)
    told = json.loads(packed(atlas))
    assert atlas.quotas == () and told["quotas"] == [] and not atlas.picked.any()


# -- the page --------------------------------------------------------------------------

ROWS, ACROSS = 5, 12  # real images stand in a grid, so that neighbours are known
CLASSES = ("cat", "dog </script><b>", "emu")


@pytest.fixture(scope="module")
def grid():
    """60 one-coloured images in a grid, and three distilled ones in a row below."""
    n, d = ROWS * ACROSS, 3
    colours = np.random.default_rng(5).integers(0, 256, (n + d, 3))
    images = torch.from_numpy(colours).byte()[:, :, None, None].expand(-1, -1, 8, 8)
    i = np.arange(n)
    xy = np.stack([np.r_[i % ACROSS, 2, 5, 8], np.r_[i // ACROSS, 6, 6, 6]], 1)
    first = np.where(i % 4 == 0, PICKED, np.where(i % 4 == 1, COARSE, BEHIND))
    second = np.where(i % 4 == 0, BEFORE, np.where(i % 4 == 2, PICKED, TIED))
    return explorer.Atlas(
        name="toy",
        classes=CLASSES,
        fine="simple",
        coarse="misclassified",
        total=1000,
        chosen=30,
        index=7 * i,
        images=images,
        labels=np.r_[i % 3, 0, 1, 2],
        xy=(xy / (ACROSS - 1)).astype(np.float32),
        strangers=i % 11,
        teacher=np.where(i == 13, 2, i % 3),
        difficulty=(i / 8)[None],
        easier=(i + 20)[None],
        picked=np.array([1, 0, 2, 0])[i % 4],
        answers=np.stack([np.where(first == COARSE, i % 3, (i + 1) % 3), (i + 2) % 3]),
        fates=np.stack([first, second]),
        ranks=np.stack([np.where(first == COARSE, 0, i + 1), 2 * i]),
        pools=np.array([[30, 31, 32], [20, 21, 22]]),
        quotas=(5, 4),
    )


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture(scope="module")
def file(grid, tmp_path_factory):
    return report.explorer.view(grid).save(tmp_path_factory.mktemp("page") / "a.html")


@pytest.fixture
def visit(browser, file):
    """Open the page from its file; a second call opens it in another way."""
    contexts = []

    def go(path=file, **options):
        options = {"viewport": {"width": 1100, "height": 900}, **options}
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda r: page.asked.append(r.url))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        kinds = ("error", "warning")
        page.on("console", lambda m: m.type in kinds and page.complaints.append(m.text))
        page.goto(path.as_uri())
        page.wait_for_selector(".ccfs-explorer[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()


def place(page, i: int) -> tuple[float, float]:
    """Where point i is in the window."""
    at = "i => document.querySelector('.ccfs-explorer').explorer.at(i)"
    box = page.locator(".cx-plot").bounding_box()
    x, y = page.evaluate(at, i)
    return box["x"] + x + 1, box["y"] + y + 1


def card(page) -> str:
    return page.locator(".cx-card").inner_text()


def frame(page) -> None:
    """Wait until what was asked has been painted."""
    twice = "requestAnimationFrame(() => requestAnimationFrame(done))"
    page.evaluate(f"new Promise(done => {twice})")


def coming(page, event: str, told="true"):
    """What is told of the page's next such event, for those who ask after it.

    wait_for_function would evaluate strings, which the page's own policy forbids.
    """
    heard = f"addEventListener('{event}', e => done({told}), {{once: true}})"
    promise = f"new Promise(done => {{ {heard}; setTimeout(done, {PATIENCE}, null) }})"
    page.evaluate(f"void (window.coming = {promise})")
    return lambda: page.evaluate("window.coming")


def test_a_phase_without_a_filter_has_no_answer(visit, grid, tmp_path):
    blind = replace(grid, unfiltered=(1,))
    page = visit(report.explorer.view(blind).save(tmp_path / "blind.html"))
    page.mouse.move(*place(page, 14))
    told = card(page)
    assert told.count("no filter") == 1 and told.count("filter says") == 1
    assert not page.complaints


def test_hovering_tells_what_and_why(visit, grid):
    page = visit()
    page.mouse.move(*place(page, 14))  # selected in phase 2
    text = card(page)
    assert "emu" in text and "Selected in phase 2" in text
    assert "Training image 98" in text and "Difficulty 1.75" in text
    assert "harder than 34 % of all" in text and "3 of the 10 images nearest" in text
    assert "✗ filter says cat" in text and "too hard: 15th of 32 candidates" in text
    assert "✗ filter says dog" in text and "selected: 28th simplest of 22" in text
    page.mouse.move(*place(page, 13))  # never selected
    text = card(page)
    assert "Never selected" in text and "✓ filter says dog" in text
    assert "no candidate: filter right" in text and "just" not in text
    assert "as hard as the last one selected, but later in the data: 26th of 21" in text
    assert "The teacher takes it for: emu" in text
    page.mouse.move(*place(page, 12))
    assert "in the set already, from phase 1" in card(page)
    page.mouse.move(*place(page, 61))
    assert "Distilled" in card(page) and "filter says" not in card(page)
    assert page.locator(".cx-card b").count() == 0  # a class name is only text
    assert not page.complaints


def test_the_picture_is_that_of_the_point(visit, grid):
    page = visit()
    for i in (0, 29, 59, 62):
        page.mouse.move(*place(page, i))
        for where in (".cx-card .cx-picture", ".cx-tip .cx-picture"):
            middle = page.eval_on_selector(
                where,
                "c => [...c.getContext('2d').getImageData(c.width / 2, 9, 1, 1).data]",
            )
            assert middle[:3] == grid.images[i, :, 0, 0].tolist()


def test_nothing_is_fetched(visit, file):
    page = visit()
    page.select_option("select >> nth=0", "2")
    page.locator(".cx-check").click()
    outside = [u for u in page.asked if not u.startswith("data:")]
    assert outside == [file.as_uri()] and not page.complaints


def test_filters_hide_points(visit):
    page = visit()
    status = page.locator(".cx-status")
    assert "63 of 63 points" in status.inner_text()
    assert "1,000 training images: all 30 selected" in status.inner_text()
    assert "940 are left out" in status.inner_text()
    page.mouse.move(*place(page, 13))
    assert "Never selected" in card(page)
    never = page.get_by_role("button", name="never selected")
    never.focus()
    page.keyboard.press("Enter")
    assert never.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.activeElement.textContent").startswith("never")
    assert "33 of 63 points" in status.inner_text()
    assert "Point at" in card(page)  # what was shown is no longer there
    page.mouse.move(*place(page, 13))
    assert "Never selected" not in card(page)
    never.click()
    page.select_option("select >> nth=1", "2")
    assert "21 of 63 points" in status.inner_text()
    for i, there in ((14, True), (17, True), (12, False)):
        page.mouse.move(*place(page, i))
        assert (f"image {7 * i}\n" in card(page)) == there


def test_a_phase_has_its_own_colours_and_legend(visit):
    page = visit()
    page.select_option("select >> nth=0", "1")
    chips = page.locator(".cx-chip").all_inner_texts()
    told = {re.sub(r"\s+", " ", chip) for chip in chips}
    wanted = {"selected in phase 1 15", "filter right 15", "too hard 30", "distilled 3"}
    assert told == wanted
    page.get_by_role("button", name="too hard").click()
    assert "33 of 63" in page.locator(".cx-status").inner_text()


def test_the_keyboard_walks_holds_and_lets_go(visit):
    page = visit()
    page.locator("select >> nth=1").focus()
    for _ in range(20):  # past the controls, to the map
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").startswith("cx-plot"):
            break
    page.mouse.move(*place(page, 26))
    page.mouse.move(0, 0)
    for key, at in (("Right", 27), ("Down", 39), ("Left", 38), ("Up", 26)):
        page.keyboard.press(f"Arrow{key}")
        assert f"Training image {7 * at}\n" in card(page)
    live = page.locator("[aria-live]").text_content()
    assert live.startswith("emu. Selected in phase 2. Training image 182")
    assert "Phase 1: filter says cat, wrong; too hard: 27th of 32" in live
    page.keyboard.press("Enter")
    page.mouse.move(*place(page, 3))
    assert "Training image 182\n" in card(page)  # held
    page.keyboard.press("Escape")
    page.mouse.move(*place(page, 4))
    assert "Training image 28\n" in card(page)
    page.keyboard.press("Escape")
    assert "Point at" in card(page)
    page.keyboard.press("ArrowRight")  # the middle of the map
    assert "Training image" in card(page)


def test_zoom_keeps_the_point_and_shows_pictures(visit, grid):
    page = visit()
    page.locator(".cx-plot").focus()
    page.mouse.move(*place(page, 17))
    before = place(page, 17)
    for _ in range(4):
        page.keyboard.press("+")
    frame(page)
    away = np.abs(np.subtract(place(page, 17), before))
    assert away.max() < 1
    page.locator(".cx-check").click()
    frame(page)
    x, y = (v - 1 for v in place(page, 17))
    box = page.locator(".cx-plot").bounding_box()
    shot = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
    seen = shot.getpixel((round(x - box["x"]) + 2, round(y - box["y"]) + 3))
    assert np.abs(np.subtract(seen, grid.images[17, :, 0, 0].numpy())).max() <= 2
    page.keyboard.press("Tab")
    page.locator(".cx-plot").focus()
    page.keyboard.press("0")
    assert page.evaluate("document.querySelector('.ccfs-explorer').explorer.zoom") == 1


def test_a_click_holds_and_a_drag_moves_the_enlarged_map(visit):
    page = visit()
    page.mouse.click(*place(page, 17))
    page.mouse.move(*place(page, 40))
    assert "Training image 119\n" in card(page) and "Held" in card(page)
    page.locator(".cx-let").click()
    page.mouse.move(*place(page, 40))
    assert "Training image 280\n" in card(page)
    page.get_by_role("button", name="Zoom in").click()
    before = place(page, 17)
    x, y = place(page, 29)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 10)
    page.mouse.move(x - 60, y - 20)
    page.mouse.up()
    moved = np.subtract(place(page, 17), before)
    assert np.abs(moved - (-60, -20)).max() < 6
    assert "Held" not in card(page)  # a drag is no click


def test_the_wheel_zooms_at_the_pointer_and_alone_scrolls_the_page(visit):
    page = visit(viewport={"width": 1100, "height": 500})
    zoom = "document.querySelector('.ccfs-explorer').explorer.zoom"
    before = place(page, 17)
    page.mouse.move(*before)
    kept = coming(page, "wheel", "e.defaultPrevented")
    page.keyboard.down("Control")
    page.mouse.wheel(0, 140)  # the map is whole; the browser must not zoom the page
    assert kept() and page.evaluate(zoom) == 1
    page.mouse.wheel(0, -140)
    page.keyboard.up("Control")
    assert page.evaluate(zoom) == pytest.approx(2)
    assert np.abs(np.subtract(place(page, 17), before)).max() < 2
    scrolled = coming(page, "scroll")
    page.mouse.wheel(0, 120)
    assert scrolled() and page.evaluate(zoom) == pytest.approx(2)


def test_two_fingers_zoom_the_map_and_one_scrolls_the_page(visit):
    phone = {"viewport": {"width": 360, "height": 500}, "has_touch": True}
    page = visit(**phone, is_mobile=True)
    session = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        told = {"type": f"touch{kind}", "touchPoints": points}
        session.send("Input.dispatchTouchEvent", told)

    zoom = "document.querySelector('.ccfs-explorer').explorer.zoom"
    x, y = before = place(page, 29)
    text = card(page)
    touch("Start", (x - 20, y), (x + 20, y))
    for way in range(25, 65, 5):
        touch("Move", (x - way, y), (x + way, y))
    touch("End")
    assert page.evaluate(zoom) == pytest.approx(3)
    assert np.abs(np.subtract(place(page, 29), before)).max() < 2
    touch("Start", (x, y))
    for way in range(5, 35, 5):
        touch("Move", (x - way, y))
    touch("End")
    moved = np.subtract(place(page, 29), before)
    assert np.abs(moved - (-30, 0)).max() < 3
    assert page.evaluate("[scrollY, visualViewport.scale]") == [0, 1]
    assert card(page) == text  # neither was a tap
    page.get_by_role("button", name="Whole map").tap()
    scrolled = coming(page, "scroll")
    touch("Start", (x, y))
    for way in range(10, 100, 10):
        touch("Move", (x, y - way))
    touch("End")
    assert scrolled()
    assert page.evaluate(zoom) == 1


def test_d3_is_what_npm_publishes():
    recipe, made = ((STATIC / name) for name in ("vendor.sh", "d3.min.js"))
    (expected,) = re.findall(r"[0-9a-f]{64}", recipe.read_text())
    assert hashlib.sha256(made.read_bytes()).hexdigest() == expected


def luminance(page, selector: str, what: str) -> float:
    colour = page.eval_on_selector(selector, f"e => getComputedStyle(e).{what}")
    channels = [float(x) / 255 for x in re.findall(r"[\d.]+", colour)[:3]]
    linear = [
        c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_marks_stand_out_in_light_and_dark(visit, scheme):
    page = visit(color_scheme=scheme)
    ground = luminance(page, ".cx-plot", "backgroundColor")
    assert (ground < 0.1) == (scheme == "dark")

    def contrast(other):
        low, high = sorted([ground, other])
        return (high + 0.05) / (low + 0.05)

    for selector in (".cx-card", ".cx-facts", ".cx-wrong", ".cx-status", ".cx-chip b"):
        assert contrast(luminance(page, selector, "color")) > 4.5, selector  # WCAG AA
    names = [f"phase-{c}" for c in range(1, 6)] + ["made", "veto", "behind"]
    for name in names:
        page.eval_on_selector(
            ".cx-empty, .cx-live", f"e => e.style.color='var(--cx-{name})'"
        )
        assert contrast(luminance(page, ".cx-live", "color")) > 3, name  # WCAG 1.4.11


def test_a_phone_taps_and_never_scrolls_sideways(visit):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    page = visit(**phone, is_mobile=True, device_scale_factor=2)
    page.touchscreen.tap(*place(page, 14))
    assert "Training image 98\n" in card(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    top = page.locator(".cx-card").bounding_box()["y"]
    map_top = page.locator(".cx-plot").bounding_box()["y"]
    assert top - map_top < 400  # map and picture fit on one screen
    small = page.eval_on_selector_all(
        ".cx-bar select, .cx-chip, .cx-zoom button",
        "all => all.filter(e => e.offsetHeight < 24 || e.offsetWidth < 24).length",
    )
    assert small == 0  # WCAG 2.5.8


def test_the_book_lends_its_script_and_style(visit, grid, tmp_path):
    # As Sphinx writes pages: the root says where the book's own files are.
    shutil.copytree(STATIC, tmp_path / "_static" / "explorer")
    html = report.explorer.view(grid)._repr_html_()
    page_file = tmp_path / "runs" / "page.html"
    page_file.parent.mkdir()
    head = '<!DOCTYPE html><html data-theme="dark" data-content_root="../">'
    page_file.write_text(f'{head}<meta charset="utf-8"><body>{html}', "utf-8")
    page = visit(page_file)
    page.wait_for_function(
        "getComputedStyle(document.querySelector('.cx-plot')).touchAction === 'pan-y'"
    )
    page.mouse.move(*place(page, 14))
    assert "Selected in phase 2" in card(page)
    assert all(u.startswith((tmp_path.as_uri(), "data:")) for u in page.asked)
    page.evaluate(
        "document.documentElement.dataset.theme = 'light'"
    )  # the book's button
    frame(page)
    ground = "document.querySelector('.ccfs-explorer').explorer.colours['--cx-ground']"
    assert page.evaluate(ground) == "#fcfcfa"


def test_without_scripts_there_is_a_sentence(browser, file):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        assert "needs scripts" in page.locator(".ccfs-explorer").inner_text()
