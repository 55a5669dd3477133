"""Drawings in pages that are kept in git: compressed, as a tenth of their bytes.

Such a page shows the PNG; the SVG is for whoever downloads it, and the book unpacks it
when it is built.
"""

import gzip
import re
from base64 import b64decode, b64encode

NUMBERS = re.compile("<metadata>.*?</metadata>", re.S)
PACKED = re.compile(r'<svg data-gzip="([^"]*)">')


def pack(drawing: str) -> str:
    """Compress a drawing; its numbers stay readable in git. Once is enough."""
    if drawing.startswith("<svg>") or PACKED.match(drawing):
        return drawing
    numbers = NUMBERS.search(drawing)[0]
    rest = gzip.compress(NUMBERS.sub("", drawing, count=1).encode(), mtime=0)
    return f'<svg data-gzip="{b64encode(rest).decode()}">{numbers}</svg>'


def unpack(text: str) -> str:
    """Return the drawing that was packed; of a page without drawings, the numbers."""
    packed = PACKED.match(text)
    if not packed:
        return text
    drawing = gzip.decompress(b64decode(packed[1])).decode()
    return drawing.replace(">", f">{NUMBERS.search(text)[0]}", 1)
