"""How strongly DSA augments, as data: no torch here, so that recipes can hold it."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.experiment.recipes import (
    STRICT,
    Fraction,
    NotNegative,
    Positive,
    no_booleans,
)

Op = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
OPS = get_args(Op)


@dataclass(frozen=True, config=STRICT)
class Strengths:
    """The published strengths (the public code of DC and DSA); MTT and DATM use them.

    Images are normalised, so brightness is in standard deviations and what is cut out
    or shifted in is 0, the mean colour.
    """

    # Each as likely as the others.
    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = OPS
    flip: Fraction = 0.5  # probability, given the operation was drawn
    # Each side by 1/1.2 .. 1.2.
    scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.2
    rotate: NotNegative = 15.0  # degrees, to both sides
    crop: Fraction = 0.125  # shift on each axis, of the side, rounded to pixels
    cutout: Fraction = 0.5  # side of the square, of the image's
    brightness: NotNegative = 1.0  # added: uniform in -1/2 .. 1/2 of this
    saturation: Positive = 2.0  # factor about each pixel's grey: 0 .. this
    contrast: NotNegative = 0.5  # factor about the image's mean: this .. this + 1
    # "batch": one operation for the whole batch, with numbers for each image: DC, DSA,
    # MTT and DATM wherever they augment, experts and final evaluation included.
    # "image": one for every image, only in SelMatch's evaluation of combined sets,
    # whose loader augments image by image. (Matching class by class has one draw for
    # each class either way.)
    choice: Literal["image", "batch"] = "image"
    # One set of numbers as well for the whole batch (DSA's gradient matching).
    siamese: bool = False

    _no_booleans = model_validator(mode="before")(no_booleans)
