"""Where real images lie for the tests that want some; they skip where there are none.

$CCFS_DATA, else ccfs-data or shared/data beside the checkout.
"""

import os
from pathlib import Path

BESIDE = Path(__file__).parents[2]
PLACES = [BESIDE / "ccfs-data", BESIDE / "shared" / "data"]
if given := os.environ.get("CCFS_DATA"):
    PLACES = [Path(given)]
DATA = next((place for place in PLACES if place.is_dir()), PLACES[-1])
