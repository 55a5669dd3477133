"""The curriculum explorer: the fate of each training image in each phase, as a map.

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
