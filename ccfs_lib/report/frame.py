"""The explorer's frame: HTML for a notebook, or a separate file.

The page holds its data; its script and style are files of the book, book/_static, so
that a better script also serves pages that were executed before it.
"""

import html
import os
from pathlib import Path

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths

# Sphinx tells a page where the book's files are; a notebook elsewhere has none.
LOADER = """
(root => {
  const home = document.documentElement.dataset.content_root;
  if (home === undefined) return;
  const add = (tag, told) =>
    document.head.append(Object.assign(document.createElement(tag), told));
  add("link", {rel: "stylesheet", href: home + "_static/explorer/explorer.css"});
  for (const name of ["d3.min", "explorer"])  // one after the other
    add("script", {src: `${home}_static/explorer/${name}.js`, async: false});
})()
"""
FALLBACK = (
    "The explorer needs scripts and the built book: `make book`. As a file of its own: "
    "`report.explorer.view(atlas).save('explorer.html')`."
)
ALONE = """<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}
body {{ background: #fff; font-family: system-ui, sans-serif; margin: 0 auto; \
max-width: 72rem; padding: 1rem; }}
html[data-theme="dark"] body {{ background: #12161b; color: #eef2f5; }}
h1 {{ font-size: 1.4rem; margin: 0.3rem 0 1rem; }}
</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () =>
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
dark.onchange = follow;
follow();
</script>
</head>
<body>
<h1>{title}</h1>
{body}
<script>{d3}</script>
<script>{script}</script>
</body>
</html>
"""


class Frame:
    """The explorer as a notebook shows it; `save` writes it as a separate file."""

    def __init__(self, title: str, data: str):
        self.title, self.data = title, data

    def __repr__(self) -> str:
        return self.title

    def _html(self, loader: str) -> str:
        # JSON in a script may hold anything but what would end the script.
        data = self.data.replace("<", "\\u003c")
        return (
            f'<div class="ccfs-explorer"><p>{html.escape(FALLBACK)}</p>'
            f'<script type="application/json">{data}</script></div>{loader}'
        )

    def _repr_html_(self) -> str:
        return self._html(f"<script>{LOADER}</script>")

    def save(self, path: str | Path) -> Path:
        """Write one HTML file that needs nothing else, not even a network.

        Raises InputError where the project's book/_static is not at hand.
        """
        folder, path = paths.home() / "book" / "_static" / "explorer", Path(path)
        try:
            style, d3, script = (
                (folder / name).read_text("utf-8")
                for name in ("explorer.css", "d3.min.js", "explorer.js")
            )
        except OSError as error:
            raise InputError(f"{folder} cannot be read ({error.strerror})") from None
        title = html.escape(self.title)
        body = self._html("")
        text = ALONE.format(title=title, style=style, d3=d3, script=script, body=body)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
        return path
