"""What readers expect around a page: titles, descriptions, citation, links, the PDF."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import v4
from pybtex.database import parse_string

import ccfs_lib

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
cite, pages, pdf, reader = map(import_module, ("cite", "pages", "pdf", "reader"))
ADDRESS = "https://github.com/somebody/ccfs"


# -- how to cite -----------------------------------------------------------------------


def test_the_citation_is_bibtex_and_says_what_the_file_says():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    text = re.search(r"```bibtex\n(.*?)```", cite.box(), re.S)[1]
    entries = parse_string(text, "bibtex").entries
    book, paper = entries["ccfs_lib"], entries["chen2025ccfs"]
    assert book.fields["title"].replace("{", "").replace("}", "") == cff["title"]
    assert book.fields["version"] == ccfs_lib.__version__
    assert [str(p) for p in book.persons["author"]] == ["{The ccfs_lib authors}"]
    (known,) = [
        entry
        for key, entry in parse_string(
            (ROOT / "book" / "references.bib").read_text("utf-8"), "bibtex"
        ).entries.items()
        if key == "chen2025ccfs"
    ]
    assert paper.persons["author"] == known.persons["author"]
    for name in ("booktitle", "year"):
        assert paper.fields[name] == known.fields[name]


# -- links to a repository -------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    """Build a small book with and without an address; the links of its pages."""
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A chapter\n\nText.")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for name in ("index.ipynb", "book/runs/digits/04_curriculum_phase_2.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, tmp_path / name)
    options = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert options["repository"]["url"] == "", "no address is known yet"
    theme = {
        "launch_buttons": options["launch_buttons"],
        "repository_branch": options["repository"]["branch"],
    }

    def build(address: str) -> dict[str, set[str]]:
        from sphinx.application import Sphinx

        out = tmp_path / "out"
        settings = {
            "extensions": ["myst_nb", "reader"],
            "html_theme": "sphinx_book_theme",
            "nb_execution_mode": "off",
            "exclude_patterns": ["out"],
            "html_theme_options": theme | {"repository_url": address},
        }
        Sphinx(
            *(tmp_path, None, out, out / "trees", "html"),
            **{"confoverrides": settings, "status": None, "freshenv": True},
        ).build(True)
        found = {}
        for path in (out / "index.html", *out.glob("book/runs/digits/*.html")):
            soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
            links = {a["href"] for a in soup.select(".article-header-buttons a")}
            found[path.stem] = {link for link in links if "://" in link}
        return found

    return build


def test_links_wait_for_the_address_and_lead_to_what_is_in_git(site):
    assert not any(site("").values())
    found = site(ADDRESS)
    chapter, name = found["04_curriculum_phase_2"], "04_curriculum_phase.ipynb"
    assert ADDRESS in chapter and ADDRESS in found["index"]
    assert f"{ADDRESS}/edit/main/notebooks/{name}" in chapter
    assert any(link.startswith(f"{ADDRESS}/issues/new?") for link in chapter)
    (colab,) = [link for link in chapter if "colab." in link]
    assert colab.endswith(f"/github/somebody/ccfs/blob/main/notebooks/{name}")
    (binder,) = [link for link in chapter if "mybinder" in link]
    assert binder.endswith(f"/somebody/ccfs/main?urlpath=lab/tree/notebooks/{name}")
    assert f"{ADDRESS}/edit/main/index.ipynb" in found["index"]
    # Only an issue's text may name the page: its file is not in git.
    named = [link for link in chapter if "book/runs" in link]
    assert all("issues/new" in link for link in named)


# -- titles and descriptions -----------------------------------------------------------


def test_a_title_names_run_and_phase_and_the_navigation_keeps_its_own():
    name = "book/runs/digits/04_curriculum_phase_2"
    title = SimpleNamespace(astext=lambda: "One phase")
    env = SimpleNamespace(
        all_docs=[name, "book/method"], titles={name: title}, longtitles={}
    )
    reader.title(None, env)
    run = pages.declared()["digits"]["title"]
    assert env.longtitles[name].astext() == f"4. One phase, phase 2 ({run})"
    assert env.titles == {name: title} and list(env.longtitles) == [name]


def test_links_to_the_neighbours_name_the_phase_and_another_run():
    names = [
        f"book/runs/{n}" for n in ("a/09_alpha", "b/04_x_phase_1", "b/04_x_phase_2")
    ]
    text = SimpleNamespace(astext=lambda: "T & U")
    longer = SimpleNamespace(astext=lambda: "9. T & U (A)")
    env = SimpleNamespace(
        titles=dict.fromkeys(names, text), longtitles={names[0]: longer}
    )
    around = {names[1]: ["book/index", names[0], names[2]]}
    app = SimpleNamespace(env=env, builder=SimpleNamespace(relations=around))
    context = {side: {"link": "#", "title": "T"} for side in ("prev", "next")}
    reader.neighbours(app, names[1], "page.html", context, None)
    titles = [context[side]["title"] for side in ("prev", "next")]
    assert titles == ["9. T &amp; U (A)", "4. T &amp; U, phase 2"]
    context = {"prev": None, "next": {"link": "#", "title": "T"}}
    around["book/a"] = [None, None, "book/method"]
    reader.neighbours(app, "book/a", "page.html", context, None)
    assert context["next"]["title"] == "T"  # a page of no run keeps its own
    reader.neighbours(app, "search", "search.html", context, None)  # has no neighbours


def built() -> dict[str, BeautifulSoup]:
    found = sorted(HTML.glob("book/**/*.html"))
    if not found:
        pytest.skip("the book has not been built: make book")
    return {
        path.relative_to(HTML).as_posix(): BeautifulSoup(
            path.read_text("utf-8"), "html.parser"
        )
        for path in found
    }


def test_every_page_has_a_title_of_its_own_a_description_and_the_version():
    titles, runs = {}, pages.declared()
    for name, soup in built().items():
        titles.setdefault(soup.title.get_text(), []).append(name)
        if name.startswith("book/runs/"):
            assert runs[name.split("/")[2]]["title"] in soup.title.get_text()
        (tag,) = soup.select("meta[name=description]")
        assert len(tag["content"]) > 20, name
        assert ccfs_lib.__version__ in soup.select_one(".extra_footer").get_text()
    assert not {title: names for title, names in titles.items() if len(names) > 1}


# -- the PDF ---------------------------------------------------------------------------


def test_the_pdf_is_linked_once_from_every_page(tmp_path):
    made, html = tmp_path / "book.pdf", tmp_path / "html"
    made.write_bytes(b"%PDF")
    (html / "book").mkdir(parents=True)
    context = {}
    reader.describe(None, "book/a", "page.html", context, None)
    button = '<ul><li>\n<button onclick="window.print()">.pdf</button></li></ul>'
    (html / "book" / "a.html").write_text(button + context["theme_extra_footer"])
    for _ in range(2):
        pdf.offer(made, html)
    soup = BeautifulSoup((html / "book" / "a.html").read_text(), "html.parser")
    (link,) = [a for a in soup.select("a") if a.get_text() == "PDF"]
    (item,) = soup.select("ul a")  # among the downloads
    for one in (link, item):
        assert (html / "book" / one["href"]).resolve().read_bytes() == b"%PDF"
