"""A dark rendering of a figure: the same picture with its lightness turned over.

Executed pages hold one PNG of each figure, on a light card. On a dark page it would
glare, and a filter of the style sheet would turn photographs over as well. So the book
makes a second picture when it is built, and shows the one that the theme asks for.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

CARD = (252, 252, 250)  # `style.PALETTE["card"]`, the ground of every figure
PAGE = (18, 18, 18)  # the theme's background in the dark
LEAST, MOST = 40, 200  # pixels: no letter is as high and as wide, no photograph wider
COLOURS = 55  # no patch of a drawing has as many, and every photograph has


def rendering(picture: Image.Image, photographs: bool) -> Image.Image:
    """Return a figure for a dark page.

    Every colour keeps its hue and its distance from the ground: c + 255 - max - min is
    the lightness of HSL turned over. The ground becomes that of the page. Photographs
    stay as they are; photographs: whether the figure is a gallery of them.
    """
    light = np.asarray(picture.convert("RGB")).astype(float)
    ends = light.max(2, keepdims=True) + light.min(2, keepdims=True)
    turned = np.clip(light + 255 - ends - _turned_card(), 0, None)
    dark = np.array(PAGE) + turned * (1 - np.array(PAGE) / 255)
    keep = inside(light, photographs)
    dark[keep] = light[keep]
    result = Image.fromarray(dark.clip(0, 255).round().astype(np.uint8))
    return result if photographs else result.quantize(128, dither=Image.Dither.NONE)


def _turned_card() -> np.ndarray:
    return np.array(CARD) + 255 - max(CARD) - min(CARD)


def inside(light: np.ndarray, gallery: bool) -> np.ndarray:
    """Return where a figure's photographs are, bool (H, W).

    light: (H, W, 3). They are the connected parts off the ground that are larger than
    any letter; a photograph's white is not quite the ground's, and where it is, the box
    around the part holds it. gallery: every such part is one. A drawing has patches as
    large, but neither as full nor as colourful.
    """
    off = (light != CARD).any(2)
    parts, _ = ndimage.label(off, np.ones((3, 3)))
    keep = np.zeros(parts.shape, bool)
    for box in ndimage.find_objects(parts):
        sides = [side.stop - side.start for side in box]
        if min(sides) < LEAST:
            continue
        if gallery or (max(sides) < MOST and _colourful(light[box], off[box])):
            keep[box] = True
    return keep


def _colourful(patch: np.ndarray, off: np.ndarray) -> bool:
    different = np.unique(patch.reshape(-1, 3), axis=0)
    return off.mean() > 0.95 and len(different) >= COLOURS
