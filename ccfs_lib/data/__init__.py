"""Data: labelled images, where they come from, and the formats they leave in.

imageset (ImageSet, load), shrink (fewer classes, fewer pixels), catalogue (data sets
with a name), readers and parquet (their files), decode, exchange (others' formats).
"""

from ccfs_lib.data.imageset import ImageSet, channel_stats, concat, load, split
from ccfs_lib.data.shrink import members, reduced

__all__ = ["ImageSet", "channel_stats", "concat", "load", "members", "reduced", "split"]
