"""How much of the published work fits into a budget, counted in image passes.

A pass is one image through a network, forward and back. A budget in minutes becomes one
in passes by the rate of the machine; then everything here is arithmetic.
"""

import math

from ccfs_lib.errors import InputError

# SelMatch's scripts evaluate every cell with the same number of steps, whatever the
# IPC: 1000, 500, 250, 167 epochs of 2,500, 5,000, 10,000, 15,000 images of CIFAR, 500
# and 250 of 10,000 and 20,000 of Tiny-ImageNet. That is 50 times the training set, in
# batches of 128 about 20,000 and 40,000 steps.
EVALUATION_SWEEPS = 50
# A row with less than this of the published work is not evidence about its method.
ENOUGH = 0.1


def within(published: int, passes: float, budget: float) -> int:
    """Cut `published` iterations of `passes` image passes each to a budget of passes.

    At least one iteration, even above the budget. Raises InputError for numbers that
    are not positive.
    """
    _positive(published=published, passes=passes, budget=budget)
    return max(min(published, int(budget / passes)), 1)


def _positive(**numbers) -> None:
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value!r}, but must be a positive number")
