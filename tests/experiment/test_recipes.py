"""Recipes: the batch-size rules of paper and code, and CDA's schedule of crops."""

import math
from dataclasses import fields
from itertools import pairwise

import pytest
from pydantic import ValidationError

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Distillation, Recipe, essential, preset
from ccfs_lib.experiment.condense import Distribution, Gradients
from ccfs_lib.experiment.cudd import Cudd
from ccfs_lib.experiment.matching import ExpertRecipe, Matching
from ccfs_lib.experiment.recipes import LateRecipe
from ccfs_lib.experiment.section3 import Motivation
from ccfs_lib.experiment.strengths import Strengths

# Images of 50,000 (both CIFARs): IPC 250, 500, 1000, 1500 of CIFAR-10 and their
# neighbours, with the batch sizes of Table 8 and of the released code.
CUTOFFS = [
    (1, 32, 32),
    (2500, 32, 32),  # 5 %
    (2501, 64, 32),
    (4999, 64, 32),
    (5000, 64, 64),  # 10 %
    (5001, 64, 64),
    (9999, 64, 64),
    (10000, 64, 128),  # 20 %
    (10001, 128, 128),
    (15000, 128, 128),  # 30 %
]


@pytest.mark.parametrize(("images", "paper", "released"), CUTOFFS)
def test_batch_rules(images, paper, released):
    for rule, size in (("paper", paper), ("released", released)):
        recipe = Recipe(epochs=9, lr=0.3, batch_rule=rule).for_size(images, 50_000)
        assert recipe == Recipe(epochs=9, lr=0.3, batch_size=size)
        assert recipe.for_size(images, 50_000) is recipe  # nothing is left to decide


def test_batch_rules_count_exactly():
    # 10 % of 1351 is 135.1: a float product would do, an integer division would not.
    sizes = [
        Recipe(epochs=1, batch_rule="released").for_size(n, 1351).batch_size
        for n in (135, 136, 270, 271)
    ]
    assert sizes == [32, 64, 64, 128]


def test_fixed_batch_stays():
    recipe = Recipe(epochs=1, batch_size=17)
    assert {recipe.for_size(n, 100).batch_size for n in (1, 50, 100)} == {17}


@pytest.mark.parametrize("crop_min", [0.0, 0.08, 0.1, 0.5, 1.0])
def test_cda_shrinks_its_crops_by_a_cosine(crop_min):
    recipe = Distillation(method="cda", iterations=400, crop_min=crop_min)
    areas = [recipe.crop_at(i) for i in range(401)]
    assert areas[0] == 1.0 and areas[400] == pytest.approx(crop_min, abs=1e-12)
    assert all(a >= b for a, b in pairwise(areas))
    assert all(crop_min <= a <= 1 for a in areas)
    assert areas[200] == pytest.approx((1 + crop_min) / 2)
    quarter = crop_min + (1 - crop_min) * (1 + math.cos(math.pi / 4)) / 2
    assert areas[100] == pytest.approx(quarter)


def test_sre2l_has_no_schedule():
    recipe = Distillation(method="sre2l", iterations=10, crop_min=0.3)
    assert {recipe.crop_at(i) for i in range(11)} == {0.3}


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (Recipe, {"epochs": 0}),
        (Recipe, {"epochs": 1, "lr": 0}),
        (Recipe, {"epochs": 1, "lr": math.inf}),
        (Recipe, {"epochs": 1, "lr": math.nan}),
        (Recipe, {"epochs": 1, "temperature": -1}),
        (Recipe, {"epochs": 1, "loss": "mse"}),
        (Recipe, {"epochs": 1, "batch_rule": "authors"}),
        (Recipe, {"epochs": 1, "batch": 3}),
        (Recipe, {"epochs": 1, "crop_scale": (0.1, 1.1)}),
        (Recipe, {"epochs": 1, "tail": 1.5}),
        (Distillation, {"iterations": 0}),
        (Distillation, {"method": "mtt"}),
        (Distillation, {"crop_min": -0.1}),
        (Distillation, {"betas": (0.5,)}),
    ],
)
def test_bad_fields_are_refused_by_name(kind, bad):
    with pytest.raises(ValidationError) as error:
        kind(**bad)
    assert error.value.errors()[0]["loc"][0] == list(bad)[-1]


def test_essential_is_what_differs_from_the_defaults():
    assert essential(Distillation()) == {}
    assert essential(Recipe(epochs=3, lr=0.1, flip=False)) == {
        "epochs": 3,  # has no default: always named
        "flip": False,
    }
    # Equal essentials, equal recipes: nothing that matters may be missing.
    for recipe in (Recipe(epochs=7, crop_scale=(0.5, 1.0)), Distillation(roll=0)):
        assert type(recipe)(**essential(recipe)) == recipe


def configurations():
    """Every configuration with the arguments that it needs, and (field, default)."""
    kinds = {Recipe: {"epochs": 3}, LateRecipe: {"epochs": 3}, Distillation: {}}
    kinds |= {ExpertRecipe: {}, Matching: {}, Strengths: {}, Cudd: {}, Distribution: {}}
    kinds |= {Gradients: {"outer": 1, "inner": 1}, Motivation: {"experiment": preset()}}
    for kind, needed in kinds.items():
        for field in fields(kind):
            yield kind, needed, field.name, getattr(kind(**needed), field.name)


@pytest.mark.parametrize("value", [True, False, (True, True), math.nan, math.inf])
def test_yes_no_and_what_is_no_number_are_refused_for_numbers(value):
    checked = 0
    for kind, needed, name, default in configurations():
        numbers = default if isinstance(default, tuple) else (default,)
        if all(type(number) in (int, float) for number in numbers):
            with pytest.raises(ValueError, match=name):
                kind(**{**needed, name: value})
            checked += 1
    assert checked > 60


def test_a_number_as_a_shell_gives_it_is_the_number():
    assert Gradients(outer="40", inner="0", lr_img="0.5").outer == 40
    assert Cudd(curricula="2").curricula == 2
    assert preset(epochs="40").recipe.epochs == 40


@pytest.mark.parametrize("name", ["epochs", "iterations", "teacher_seed", "classes"])
def test_numbers_that_no_loop_could_count_are_refused(name):
    for value in (10**7, 10**400):
        with pytest.raises(InputError, match=name):
            preset(**{name: value})
