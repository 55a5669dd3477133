"""The built book in a browser: nothing fetched, nothing broken, on any screen."""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
AXE = ("index", "method", "verdict", "paper", "runs/cifar100-ipc50/05_evaluation")
PATIENCE = 120_000  # ms; a busy machine is no broken book
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update"),
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """Address of the built book; built first if it is not there."""
    if not (HTML / "book" / "index.html").exists():
        build = [sys.executable, ROOT / "book" / "build.py", "all"]
        subprocess.run(build, cwd=ROOT, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


@pytest.fixture
def page(browser, site):
    """A page at desktop size, of a reader who prefers light."""
    with browser.new_context(base_url=site, color_scheme="light") as context:
        context.set_default_timeout(PATIENCE)
        yield context.new_page()


@pytest.fixture(scope="module")
def visits(browser, site):
    """Every page, opened once: name -> what it asked for, said, showed and linked."""
    seen = {}
    with browser.new_context(base_url=site) as context:
        context.set_default_timeout(PATIENCE)
        for path in sorted(HTML.glob("book/**/*.html")):
            seen[path.relative_to(HTML).as_posix()] = _visit(context, path)
    return seen


# Captions that a screen does not show whole, by their first words.
CUT = """all => all.filter(c => {
  const {left, right} = c.getBoundingClientRect(), text = document.createRange();
  if (!c.checkVisibility()) return false;
  text.selectNodeContents(c);
  const words = text.getBoundingClientRect(), wide = innerWidth + 1;
  return left < -1 || right > wide || words.left < -1 || words.right > wide;
}).map(c => c.textContent.slice(0, 60))"""
# How bright the page is, and every shown figure: the median of its pixels' brightest
# channel and that of its border, which is its ground; 0 to 255.
SHADES = """async () => {
  const result = [], middle = all => all.sort((a, b) => a - b)[all.length >> 1];
  const ground = getComputedStyle(document.body).backgroundColor;
  const page = Math.max(...ground.match(/[\\d.]+/g).slice(0, 3));
  for (const image of document.querySelectorAll(".bd-article figure img")) {
    if (!image.checkVisibility()) continue;
    image.loading = "eager";
    await image.decode();
    const canvas = document.createElement("canvas");
    const {naturalWidth: w, naturalHeight: h} = image;
    [canvas.width, canvas.height] = [w, h];
    const pen = canvas.getContext("2d", {willReadFrequently: true});
    pen.drawImage(image, 0, 0);
    const data = pen.getImageData(0, 0, w, h).data, border = [];
    const at = (x, y) => Math.max(...data.slice(4 * (y * w + x), 4 * (y * w + x) + 3));
    for (let x = 0; x < w; x += 7) border.push(at(x, 0), at(x, h - 1));
    for (let y = 0; y < h; y += 7) border.push(at(0, y), at(w - 1, y));
    // A card behind it would glare as well.
    const style = getComputedStyle(image);
    const clear = /, 0\\)$/.test(style.backgroundColor);
    const card = parseFloat(style.padding) > 0 && !clear;
    result.push([image.src, page, middle(border), Math.max(...border), card]);
  }
  return result;
}"""


def open_page(page, path: str) -> None:
    """Go there and wait until everything is loaded and formulas are typeset."""
    page.goto(path)
    page.evaluate("window.MathJax?.startup?.promise.then(() => null)")


def _visit(context, path) -> dict:
    page = context.new_page()
    seen = {"requests": [], "complaints": []}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
    page.on("response", lambda r: r.status < 400 or seen["complaints"].append(r.url))
    page.on(
        "console", lambda m: m.type == "error" and seen["complaints"].append(m.text)
    )
    open_page(page, "/" + path.relative_to(HTML).as_posix())
    seen["title"] = page.title()
    # A hidden picture, such as one for dark pages, is not loaded before it is shown.
    seen["images"] = page.eval_on_selector_all(
        "img",
        """all => all.map(i => [i.src,
          !i.checkVisibility() || i.complete && i.naturalWidth > 0, i.alt])""",
    )
    seen["links"] = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    page.set_viewport_size(PHONE)
    seen["overflow"] = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    seen["cut"] = page.eval_on_selector_all("caption, figcaption", CUT)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    seen["dark"] = page.evaluate(SHADES)
    page.close()
    return seen


def test_every_page_was_visited(visits):
    assert {"book/index.html", "book/method.html", "book/api.html"} <= visits.keys()


def test_nothing_is_fetched_from_elsewhere(visits, site):
    outside = {
        (name, url)
        for name, seen in visits.items()
        for url in seen["requests"]
        if not url.startswith((site, "data:", "blob:"))
    }
    assert not outside


def test_no_errors_in_the_console(visits):
    assert not {k: v["complaints"] for k, v in visits.items() if v["complaints"]}


def test_images_are_there_and_described(visits):
    images = [(name, *image) for name, v in visits.items() for image in v["images"]]
    assert images
    assert not [image for image in images if not image[2]], "not loaded"
    assert not [image for image in images if not image[3].strip()], "no alt text"
    # MyST-NB's own default says nothing: a path in _images.
    assert not [image for image in images if "_images/" in image[3]], "a path as alt"


def test_no_page_is_wider_than_a_phone(visits):
    assert not {name: v["overflow"] for name, v in visits.items() if v["overflow"] > 0}


def test_no_caption_is_cut_on_a_phone(visits):
    assert not {name: v["cut"] for name, v in visits.items() if v["cut"]}


def test_no_figure_is_brighter_than_its_page_in_the_dark(visits):
    shades = [(name, *shade) for name, v in visits.items() for shade in v["dark"]]
    assert len(shades) > 20
    bright = [
        (name, src) for name, src, page, ground, *_ in shades if ground > page + 2
    ]
    assert not bright
    assert not [src for _, src, *_, card in shades if card]


# Width and height of every figure that is shown, in pixels, loaded or not.
BOXES = """all => all.filter(i => i.checkVisibility()).map(i => {
  const {width, height} = i.getBoundingClientRect();
  return [Math.round(width), Math.round(height)];
})"""


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_figures_are_as_large_in_the_dark_and_keep_their_place(page, size):
    page.set_viewport_size(size)
    for name in ("index", "runs/digits/04_curriculum_phase_1"):
        page.emulate_media(color_scheme="light")
        open_page(page, f"/book/{name}.html")
        light = page.eval_on_selector_all(".bd-article figure img", BOXES)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        dark = page.eval_on_selector_all(".bd-article figure img", BOXES)
        assert light and np.allclose(light, dark, atol=1), (name, light, dark)


def test_titles_tell_pages_apart(visits):
    titles = [v["title"] for v in visits.values()]
    assert sorted(titles) == sorted(set(titles))


def test_the_front_page_is_short_and_opens_with_a_figure(page):
    page.set_viewport_size(DESK)
    open_page(page, "/book/index.html")
    assert page.evaluate("document.documentElement.scrollHeight") < 3000
    box = page.locator(".bd-article figure").first.bounding_box()
    assert box["height"] > 150 and box["y"] + box["height"] < DESK["height"]
    # The other figure, and the sentences between them.
    assert page.locator(".bd-article figure").count() == 2
    assert page.locator(".bd-article > section > ul li").count() >= 2
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollHeight") < 4500


def test_the_diagram_is_readable_on_a_phone_and_follows_the_theme(page):
    for size, form in ((DESK, "wide"), (PHONE, "narrow")):
        page.set_viewport_size(size)
        open_page(page, "/book/method.html")
        shown = page.locator(".drawing svg:visible")
        assert shown.count() == 1 and form in shown.get_attribute("class")
        heights = shown.locator("text").evaluate_all(
            "all => all.map(t => t.getBoundingClientRect().height)"
        )
        assert min(heights) > 11  # pixels, of a line of text
    assert luminance(page, ".drawing .narrow text", "fill") < 0.3
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert luminance(page, ".drawing .narrow text", "fill") > 0.5
    assert luminance(page, ".drawing .narrow rect", "fill") < 0.3


def test_every_table_and_figure_of_the_paper_is_reached_from_its_page(page):
    open_page(page, "/book/paper.html")
    names = [f"Table {n}" for n in range(1, 14)] + [f"Figure {n}" for n in range(1, 12)]
    for name in names:
        link = page.get_by_role("link", name=name, exact=True).first
        target = link.evaluate("a => a.hash")
        heading = page.locator(f"[id='{target[1:]}']").locator(
            "xpath=ancestor-or-self::section[1]"
        )
        assert heading.locator("h2").first.inner_text().startswith(f"{name}:"), name


def axe() -> str:
    """The script of axe-core, which the wheel axe-playwright-python brings along."""
    given, spec = os.environ.get("AXE_JS", ""), find_spec("axe_playwright_python")
    path = Path(given) if given else None
    if path is None and spec is not None:
        path = Path(spec.submodule_search_locations[0]) / "axe.min.js"
    if path is None:
        pytest.skip("no axe-core here: pip install axe-playwright-python")
    return path.read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", AXE)
def test_axe_has_no_serious_finding(page, name, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"/book/{name}.html")
    page.wait_for_timeout(500)  # colours that change with the theme take a moment
    page.add_script_tag(content=axe())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    serious = [
        (v["id"], v["nodes"][0]["html"][:200], len(v["nodes"]))
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_results_of_a_search_can_be_told_apart(page):
    open_page(page, "/book/index.html")
    page.goto("/search.html?q=evaluation")
    page.wait_for_selector("#search-results li a")
    titles = page.locator("#search-results li > a").all_inner_texts()
    assert len(titles) > 3 and len(titles) == len(set(titles))


def test_internal_links_lead_somewhere(visits, site):
    broken, anchors = set(), {}
    for name, seen in visits.items():
        for link in seen["links"]:
            if not link.startswith(site):
                continue
            url, fragment = urldefrag(link)
            target = HTML / unquote(urlsplit(url).path).lstrip("/")
            if not target.is_file():
                broken.add((name, link))
            elif fragment and target.suffix == ".html":
                if target not in anchors:
                    text = target.read_text("utf-8")
                    anchors[target] = set(re.findall(r'\bid="([^"]+)"', text))
                if unquote(fragment) not in anchors[target]:
                    broken.add((name, link))
    assert not broken


def test_search_opens_with_the_keyboard_and_finds(page):
    open_page(page, "/book/index.html")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog[open] input[type=search]")
    page.keyboard.type("forgetting event")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "a => a.map(x => x.href)")
    assert any("glossary" in link for link in found)


def test_mathematics_is_rendered_by_the_local_script(page):
    open_page(page, "/book/method.html")
    assert page.locator("mjx-container svg").count() > 10
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0


def test_a_dark_page_prints_light_and_stays_dark(page):
    page.emulate_media(color_scheme="dark")
    open_page(page, "/book/method.html")
    for media, light in (("print", True), ("screen", False)):
        page.emulate_media(media=media)
        wanted = "===" if light else "!=="
        page.wait_for_function(
            f"document.documentElement.dataset.theme {wanted} 'light'"
        )
        assert (luminance(page, "body", "backgroundColor") > 0.9) == light
        assert (luminance(page, ".bd-article td", "color") < 0.3) == light


SMALL = """<html><head><title>T</title>
<link rel="stylesheet" href="_static/ccfs.css?v=1"></head>
<body><article class="bd-article">
<section id="{0}"><h1>Chapter {0}</h1><p>{1}</p><img alt="i" src="_images/i.png">
<p class="downloads">CSV</p></section></article></body></html>"""


def test_the_whole_book_is_printed_in_order_with_its_links(browser, tmp_path):
    sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
    pdf, formulas = import_module("pdf"), import_module("formulas")
    html = tmp_path / "_build" / "html"
    shutil.copytree(ROOT / "book" / "_static", html / "_static")
    formulas.write(html / "_static" / "mathjax" / "tex-svg.js")
    (html / "_images").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "readme.png", html / "_images" / "i.png")
    text = {"a": '<a href="c.html#c">to c</a>', "b": '<a href="x.csv">x</a>', "c": "z"}
    for name, told in text.items():
        (html / f"{name}.html").write_text(SMALL.format(name, told))
    parts = [{"caption": "One", "chapters": [{"file": "b"}, {"file": "c"}]}]
    contents = {"root": "a", "parts": parts}
    whole = pdf.one(contents, html)
    assert [h.get_text() for h in whole.select("h2")] == [f"Chapter {n}" for n in "abc"]
    targets = [a["href"] for a in whole.select("a")]
    assert targets == ["#p2-c", "#p1", "#p2"] and whole.select("#p2-c")
    assert not whole.select(".downloads")
    (tmp_path / "_build" / "print.html").write_text(str(whole))
    source, to = tmp_path / "_build" / "print.html", tmp_path / "b.pdf"
    printed = pdf.on_paper(browser, source, to).read_bytes()
    assert printed.startswith(b"%PDF")
    # A chapter a page, and one for the contents, whose numbers are those of the pages.
    assert len(re.findall(rb"/Type /Page\s", printed)) >= 4
    starts = pdf.numbers(printed)
    assert starts["p1"] == 3 and starts["p2"] == starts["p2-c"] == 4


def luminance(page, selector: str, what: str) -> float:
    """0 black to 1 white, of a computed colour."""
    colour = page.eval_on_selector(selector, f"e => getComputedStyle(e).{what}")
    red, green, blue = (float(x) / 255 for x in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_dark_mode_follows_the_system_and_the_button(page):
    page.emulate_media(color_scheme="dark")
    open_page(page, "/book/method.html")
    assert luminance(page, "body", "backgroundColor") < 0.15
    assert luminance(page, ".bd-article p", "color") > 0.7
    assert luminance(page, ".drawing text", "fill") > 0.5
    for _ in range(3):  # dark, light and auto take turns
        page.locator(".theme-switch-button:visible").first.click()
        if page.get_attribute("html", "data-theme") == "light":
            break
    assert luminance(page, "body", "backgroundColor") > 0.9
    assert luminance(page, ".bd-article p", "color") < 0.3
