"""Sphinx extension: what a reader expects around a page.

A title and a description that tell it from the other pages; the version and the way to
cite; and, once _config.yml has the address of the repository, links to the source, to
an issue and to notebooks that run elsewhere. Without an address there are none of them.
"""

import html
import re
import sys
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
import pages

import ccfs_lib

BUTTONS = ("repository", "issues", "edit_page")
LENGTH = 160  # of a description, as search engines show it
EXECUTED = re.compile(r"book/runs/[^/]+/([\w-]+?)(_\d+)?\.ipynb")


def configure(app, config):
    """Set the version, and the links to the repository if there is one."""
    config.version = config.release = ccfs_lib.__version__
    theme = config.html_theme_options
    known = bool(theme.get("repository_url"))
    theme |= {f"use_{name}_button": known for name in BUTTONS}
    if not known:
        theme.pop("launch_buttons", None)


def title(app, env):
    """Let titles of browser and search name the run; those of the navigation do not."""
    runs = pages.declared()
    for docname in env.all_docs:
        run, chapter = numbered(docname, env)
        if run in runs:
            text = f"{chapter} ({runs[run]['title']})"
            env.longtitles[docname] = nodes.title("", text)


def numbered(docname, env) -> tuple[str, str]:
    """Return the run of an executed page, and its title with number and phase."""
    if not docname.startswith("book/runs/"):
        return "", ""
    run, _, stem = docname.removeprefix("book/runs/").partition("/")
    phase = re.search(r"phase_(\d+)$", stem)
    text = f"{int(stem[:2])}. {env.titles[docname].astext()}"
    return run, text + (f", phase {phase[1]}" if phase else "")


def neighbours(app, pagename, templatename, context, doctree):
    """Name number and phase in the links to the pages before and after, and the run
    where it is another one."""
    env = app.env
    around = app.builder.relations.get(pagename, (None, None, None))[1:]
    for side, docname in zip(("prev", "next"), around, strict=True):
        run, text = numbered(docname or "", env)
        if run and context.get(side):
            if run != numbered(pagename, env)[0]:
                text = env.longtitles[docname].astext()
            context[side] = context[side] | {"title": html.escape(text)}


def describe(app, pagename, templatename, context, doctree):
    """Add the description, and what stands below every page."""
    up = "../" * pagename.count("/")
    context["theme_extra_footer"] = (
        f'<p class="version">Version {ccfs_lib.__version__} '
        f'(<a href="{up}book/changes.html">changes</a>), '
        f'<a href="{up}book/references.html#how-to-cite-this-book">how to cite</a>'
        f"<!-- pdf {up} --></p>"  # `pdf.offer` puts a link here
    )
    if doctree is not None and (text := first(doctree)):
        tag = f'<meta name="description" content="{html.escape(text)}" />'
        context["metatags"] = f"{context.get('metatags', '')}\n{tag}"


def first(doctree) -> str:
    """Return a page's first paragraph, cut after a word."""
    paragraphs = (node.astext() for node in doctree.findall(nodes.paragraph))
    text = " ".join(next(filter(str.strip, paragraphs), "").split())
    return text if len(text) < LENGTH else text[:LENGTH].rpartition(" ")[0] + " …"


def source(app, pagename, templatename, context, doctree):
    """Point links of an executed page to its notebook: the page may not be in git."""
    todo = list(context.get("header_buttons", []))
    for button in todo:  # grows: groups hold buttons
        todo += button.get("buttons", [])
        if "url" in button and "://" in button["url"]:
            button["url"] = EXECUTED.sub(r"notebooks/\1.ipynb", button["url"])


def toggles(app, pagename, templatename, context, doctree):
    """Give the buttons that open parts of the navigation a name to be read aloud."""
    made = context.get("generate_toctree_html")

    def named(*arguments, **options):
        navigation = made(*arguments, **options)
        return str(navigation).replace(
            "<summary>", '<summary aria-label="Show or hide its pages">'
        )

    if made is not None:
        context["generate_toctree_html"] = named


def setup(app):
    """Connect to the events; the theme makes its buttons at priority 501."""
    app.connect("config-inited", configure, priority=100)
    app.connect("env-updated", title)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", neighbours)
    app.connect("html-page-context", source, priority=502)
    app.connect("html-page-context", toggles, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
