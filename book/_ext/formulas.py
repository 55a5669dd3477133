"""Sphinx extension: MathJax, the one file that every page's formulas need, unpacked.

The project has it compressed, a quarter of its 2.1 MB; a page asks for it as it is.
"""

import lzma
import shutil
from pathlib import Path

PACKED = Path(__file__).parents[1] / "mathjax" / "tex-svg.js.xz"  # MathJax 3.2.2


def unpack(app):
    """Write the script where `mathjax_path` says."""
    if app.builder.format == "html":
        write(Path(app.outdir) / "_static" / app.config.mathjax_path)


def write(script: Path) -> None:
    """Write MathJax to a file, and its licence beside it."""
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_bytes(lzma.decompress(PACKED.read_bytes()))
    shutil.copy(PACKED.with_name("LICENSE"), script.parent)


def setup(app):
    """Connect to the first event that knows the builder and its folder."""
    app.connect("builder-inited", unpack)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
