"""The whole book as one PDF: the built pages, one after the other, printed by Chromium.

No second build: the pages are taken as they are, so the PDF says what the site says.
"""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urldefrag

import yaml
from bs4 import BeautifulSoup, Tag
from pages import ROOT

from ccfs_lib.errors import InputError

# What means nothing on paper: links of the site, folded settings, what needs a script,
# and what is for other pages than white and wide ones.
OFF_PAPER = (
    ".headerlink, .downloads, .viewcode-link, details:not(.sd-dropdown), script, "
    "dialog, .for-dark, .drawing .narrow"
)
# Headings go down one level, below those of the parts: that makes the PDF's outline.
LEVELS = range(5, 0, -1)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
NUMBER = (
    '<div style="font: 8px sans-serif; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)
FILL = """all => document.querySelectorAll(".contents a").forEach(
  a => a.lastElementChild.textContent = all[a.hash.slice(1)] ?? "")"""
MARGIN = {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}


def pdf(root: Path = ROOT) -> Path:
    """Print the pages of _build/html in the order of the contents; return the PDF.

    Raises InputError where the book has not been built, or Chromium is missing.
    """
    pages = root / "_build" / "html"
    if not (pages / "book" / "index.html").exists():
        raise InputError("there are no pages to print: python book/build.py html")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise InputError("printing needs chromium: apt-get install chromium")
    document = root / "_build" / "print.html"
    contents = yaml.safe_load((root / "_build" / "_toc.yml").read_text("utf-8"))
    document.write_text(str(one(contents, pages)), "utf-8")
    printed = _print(document, root / "_build" / "book.pdf", browser)
    offer(printed, pages)
    return printed


def offer(printed: Path, pages: Path) -> None:
    """Put the PDF beside the pages, and a link to it in their downloads and below."""
    shutil.copy(printed, pages / printed.name)
    for path in pages.rglob("*.html"):
        text = path.read_text("utf-8")
        # Once: a second printing finds the link before the place.
        place = re.search(r"(?<!PDF</a>)<!-- pdf ([./]*) -->", text)
        if place is None:
            continue
        to = f'href="{place[1]}{printed.name}" download'
        text = text.replace(place[0], f", <a {to}>PDF</a>{place[0]}")
        item = f'<li><a {to} class="btn btn-sm dropdown-item">whole book, .pdf</a></li>'
        # Above the theme's button, which prints the one page.
        text = re.sub(r'<li>\s*<button onclick="window\.print', rf"{item}\g<0>", text)
        path.write_text(text, "utf-8")


def one(contents: dict, folder: Path) -> BeautifulSoup:
    """Join all pages of a table of contents into one document, their links included.

    contents: _toc.yml as read. folder: the built pages; the document is to lie beside
    it, and takes pictures, styles and formulas from there.
    """
    order = [contents["root"]]
    order += [c["file"] for part in contents["parts"] for c in part["chapters"]]
    known = {(folder / f"{name}.html").resolve(): i for i, name in enumerate(order)}
    start = _head(folder / f"{contents['root']}.html", folder)
    document = BeautifulSoup(start, "html.parser")
    body, chapters = document.body, {}
    for name in order:
        chapters[name] = _chapter(folder / f"{name}.html", known, folder)
    body.append(chapters[contents["root"]])
    body.append(_contents(document, contents, chapters, order))
    for part in contents["parts"]:
        heading = document.new_tag("h1", attrs={"class": "part"})
        heading.string = part["caption"]
        first, *rest = (chapters[c["file"]] for c in part["chapters"])
        first.insert(0, heading)
        body.extend([first, *rest])
    return document


def _read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def _inside(address: str, page: Path, folder: Path) -> str:
    """Rewrite a page's address of another file, as seen beside the pages' folder."""
    target = (page.parent / address.partition("?")[0]).resolve()
    return f"{folder.name}/{target.relative_to(folder.resolve())}"


def _head(path: Path, folder: Path) -> str:
    """Write the start of the document: the site's styles, the script for formulas."""
    front, here = _read(path), f"{folder.name}/"
    styles = [link["href"] for link in front.select("link[rel=stylesheet]")]
    links = "".join(
        f'<link rel="stylesheet" href="{_inside(style, path, folder)}">'
        for style in styles
    )
    math = f'<script src="{here}_static/mathjax/tex-svg.js"></script>'
    title = front.title.get_text()
    # Sphinx's own setting: formulas are where it says so, not wherever a dollar is.
    only = 'window.MathJax = {options: {processHtmlClass: "math|output_area"}}'
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head>'
        f'<meta charset="utf-8"><title>{title}</title>{links}'
        f"<script>{only}</script>{math}</head>"
        '<body class="printed tex2jax_ignore"></body></html>'
    )


def _chapter(path: Path, known: dict[Path, int], folder: Path) -> Tag:
    """Cut the article out of a page; identifiers and addresses fit the document."""
    article = _read(path).select_one("article.bd-article")
    number = known[path.resolve()]
    for element in article.select(OFF_PAPER):
        element.decompose()
    for explorer in article.select(".ccfs-explorer"):
        explorer.string = "The explorer answers clicks: it is in the HTML book."
    for level in LEVELS:
        for heading in article.find_all(f"h{level}"):
            heading.name = f"h{level + 1}"
    for element in article.select("[id]:not(.drawing *)"):  # one marker fits all
        element["id"] = f"p{number}-{element['id']}"
    for link in article.select("a[href]"):
        _redirect(link, path, known)
    for picture in article.select("img[src]"):
        picture["src"] = _inside(picture["src"], path, folder)
        picture["loading"] = "eager"
    for fold in article.select("details"):
        fold["open"] = ""
    article["id"] = f"p{number}"
    return article


def _redirect(link: Tag, path: Path, known: dict[Path, int]) -> None:
    """Point a link into the document, or take it away if it leads to another file."""
    address, fragment = urldefrag(link["href"])
    if "://" in address:
        return
    target = (path.parent / address).resolve() if address else path.resolve()
    if target not in known:
        link.unwrap()
        return
    link["href"] = f"#p{known[target]}" + (f"-{fragment}" if fragment else "")


def _contents(document, contents: dict, chapters: dict[str, Tag], order: list) -> Tag:
    """Write the table of contents: a link per chapter, a place for its page number."""
    lines = []
    for part in contents["parts"]:
        lines.append(f"<p>{part['caption']}</p><ul>")
        for chapter in part["chapters"]:
            to = order.index(chapter["file"])
            title = chapter.get("title") or chapters[chapter["file"]].h2.get_text()
            lines.append(f'<li><a href="#p{to}">{title} <span></span></a></li>')
        lines.append("</ul>")
    text = f'<nav class="contents"><h1>Contents</h1>{"".join(lines)}</nav>'
    return BeautifulSoup(text, "html.parser").nav


def _print(document: Path, to: Path, program: str) -> Path:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise InputError("printing needs playwright: pip install playwright") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        return on_paper(browser, document, to)


def on_paper(browser, document: Path, to: Path) -> Path:
    """Print one HTML file, with playwright's browser, into a PDF."""
    page, part = browser.new_page(), to.with_name(f".{to.name}.part")
    page.set_default_timeout(600_000)  # one page of megabytes, on any machine
    page.goto(document.as_uri())
    page.evaluate("MathJax.startup.promise.then(() => null)")
    layout = {"format": "A4", "margin": MARGIN, "outline": True, "tagged": True}
    layout |= {"display_header_footer": True, "header_template": "<span></span>"}
    layout |= {"footer_template": NUMBER, "print_background": True, "scale": 0.85}
    # Twice: only a printed book knows on which page its chapters begin.
    page.evaluate(FILL, numbers(page.pdf(**layout)))
    page.pdf(path=part, **layout)
    page.close()
    os.replace(part, to)
    return to


def numbers(printed: bytes) -> dict[str, int]:
    """Find the page on which each target of a link begins: identifier -> number.

    Numbers are from 1. printed: a PDF of Chromium's, which writes its objects in plain
    text and its pages in order.
    """
    pages = re.findall(rb"(\d+) 0 obj\s*<</Type /Page\s", printed)
    targets = re.findall(rb"/([\w-]+) \[(\d+) 0 R /XYZ", printed)
    return {name.decode(): pages.index(page) + 1 for name, page in targets}
