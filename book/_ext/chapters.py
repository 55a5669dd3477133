"""Sphinx extension: how an executed notebook becomes a chapter.

The title gets the chapter's number and the name of the run. Under it come, as a box,
the output of the cell with the tag ``finding``, which a notebook computes last, and in
small print what book/runs.yaml says of the run's scale.
"""

import re
import sys
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
import pages

CHAPTER = re.compile(r"book/runs/([^/]+)/(\d+)_.*")


def chapter(docname: str) -> tuple[str, int] | None:
    """Return run and number of an executed page; None of any other page."""
    known = CHAPTER.fullmatch(docname)
    return (known[1], int(known[2])) if known else None


def arrange(app, doctree):
    """Name number and run in the title; put the finding and the run's scale under it.

    Runs after Sphinx has collected the titles, so that the navigation keeps its own.
    """
    known = chapter(app.env.docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if known is None or title is None:
        return
    run, number = known
    title.insert(0, nodes.Text(f"{number}. "))
    declared = pages.declared().get(run, {})
    name = nodes.inline("", declared.get("title", run), classes=["run"])
    title += [nodes.Text(" "), name]
    if scale := declared.get("scale"):
        about = nodes.paragraph("", f"The run: {scale}", classes=["about-run"])
        title.parent.insert(title.parent.index(title) + 1, about)
    box(title)


def box(title) -> None:
    """Move the output of the cell with the tag ``finding`` to below the title."""
    for cell in list(title.parent.findall(nodes.container)):
        if "tag_finding" in cell["classes"]:
            outputs = [c for c in cell.children if "cell_output" in c["classes"]]
            for output in outputs:
                cell.remove(output)
                output["classes"].append("finding")
            at = title.parent.index(title) + 1
            title.parent[at:at] = outputs


def setup(app):
    """Connect to the event; Sphinx collects titles and contents at priority 500."""
    app.connect("doctree-read", arrange, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
