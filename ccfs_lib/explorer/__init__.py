"""The curriculum explorer: what each phase made of each training image, as a map.

atlas (what is shown), embedding (the map), sprite (many images as one picture).
"""

from ccfs_lib.explorer.atlas import (
    BEFORE,
    BEHIND,
    COARSE,
    PICKED,
    TIED,
    VETOED,
    Atlas,
    build,
    fates,
    shown,
)

__all__ = [
    "BEFORE",
    "BEHIND",
    "COARSE",
    "PICKED",
    "TIED",
    "VETOED",
    "Atlas",
    "build",
    "fates",
    "shown",
]
