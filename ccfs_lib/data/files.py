"""The files of an image folder: which are images, which litter, which left out.

torchvision's ImageFolder is the measure: its suffixes, its order, linked folders
followed. Hidden and litter folders are the one difference: to it they are classes.
"""

import hashlib
import os
import re
import warnings
from collections import Counter
from pathlib import Path

from ccfs_lib.errors import InputError, Notice

# ImageFolder's, so that its order is ours whatever a folder holds.
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
SUFFIXES |= {".tif", ".tiff", ".ppm", ".pgm"}
# What file managers, archives and network disks leave behind, hidden names aside.
LITTER = {"__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "lost+found"}
LITTER |= {"System Volume Information", "Thumbs.db", "desktop.ini", "__pycache__"}
# Lists and notes that lie beside images; Tiny-ImageNet has one in each class.
BESIDE = {".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".html", ".yaml", ".log"}


def is_litter(name: str) -> bool:
    """Check whether a file or folder of this name is nobody's data."""
    # Hidden ones too: macOS leaves "._name.jpg" twins that hold no image.
    return name.startswith(".") or name in LITTER


def is_image(name: str) -> bool:
    """Check whether a file of this name is read as an image."""
    return not is_litter(name) and Path(name).suffix.lower() in SUFFIXES


def subfolders(folder: Path) -> list[Path]:
    """List folders directly in `folder`, links followed, litter left out, sorted.

    Raises InputError for a link that leads nowhere and a folder that cannot be read.
    """
    try:
        inner = sorted(f for f in folder.iterdir() if not is_litter(f.name))
    except OSError as error:
        raise damaged(folder, error) from error
    for path in inner:
        check_link(path)
    return [path for path in inner if path.is_dir()]


def walk(folder: Path) -> list[Path]:
    """List files below `folder` in ImageFolder's order, links followed, no litter.

    Raises InputError for a link that leads nowhere or back to a folder it lies in, and
    for a folder that cannot be read.
    """

    def failed(error):
        """Raise InputError for a folder that cannot be read; os.walk would skip it."""
        raise damaged(error.filename, error) from error

    listing = []
    for place, folders, files in os.walk(folder, onerror=failed, followlinks=True):
        folders[:] = [name for name in folders if not is_litter(name)]
        for name in folders:
            _check_loop(Path(place, name))
        listing.append((place, sorted(name for name in files if not is_litter(name))))
    paths = [Path(place, name) for place, names in sorted(listing) for name in names]
    for path in paths:
        check_link(path)
    return paths


def check_link(path: Path) -> None:
    """Raise InputError for a link to something that is not there."""
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} is a link to {os.readlink(path)}, which is not there")


def _check_loop(path: Path) -> None:
    if path.is_symlink():
        target = path.resolve()
        if any(parent.resolve() == target for parent in path.parents):
            raise InputError(f"{path} is a link to {target}, in which it lies itself")


def say_left_out(folder: Path, files: list[Path], stray: int = 0) -> None:
    """Count, in one notice, the files below `folder` that are not read.

    files: what `walk` lists; stray: images that lie in no class's folder.
    """
    kinds = Counter(
        path.suffix.lower() or "without suffix"
        for path in files
        if not is_image(path.name)
        and not is_litter(path.name)
        and path.suffix.lower() not in BESIDE
    )
    parts = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    parts += [f"{stray} images outside of class folders"] * bool(stray)
    if parts:
        warnings.warn(
            f"{folder}: not read are {', '.join(parts)}; images are "
            f"{', '.join(sorted(SUFFIXES))} files in a folder of their class",
            Notice,
            stacklevel=2,
        )


def text(path: Path) -> str:
    """Read a text file; raises InputError if it cannot be read as UTF-8.

    A byte order mark, which editors of Windows put before it, is left out.
    """
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def damaged(place, error: Exception) -> InputError:
    """Make the error for a file that cannot be read, with the reason's first line."""
    reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
    # Pillow names its buffer by an address, which says nothing and changes every time.
    reason = re.sub(r" <_io\.\w+ object at 0x[0-9a-f]+>", "", reason)
    return InputError(f"{place} cannot be read: {reason}")


def digest(path: str | Path) -> str:
    """Compute sha256 (hex) of a file, or of all files below a folder and their names.

    Litter takes no part. Raises InputError as `walk`.
    """
    path, total = Path(path), hashlib.sha256()
    for file in walk(path) if path.is_dir() else [path]:
        total.update(file.relative_to(path).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
