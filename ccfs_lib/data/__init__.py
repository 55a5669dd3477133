"""Data: labelled images, where they come from, and the formats they leave in.

imageset (ImageSet, load), convert (arrays and torch Datasets), shrink (fewer classes,
fewer pixels), resize (its areas and squares), catalogue and cifar (data sets with a
name), readers and parquet (sources of images), files (of folders), decode, exchange
(others' formats).
"""

from ccfs_lib.data.imageset import (
    ImageSet,
    channel_stats,
    concat,
    from_arrays,
    from_dataset,
    load,
    split,
)
from ccfs_lib.data.shrink import members, reduced

__all__ = [
    "ImageSet",
    "channel_stats",
    "concat",
    "from_arrays",
    "from_dataset",
    "load",
    "members",
    "reduced",
    "split",
]
