"""CCFS: Curriculum Coarse-to-Fine Selection (CVPR 2025), reproduced.

Read it in this order, the method first:

data        labelled images, where they come from
networks    ResNets, ConvNets and others, as the field builds them
augment     random resized crops, flips
train       the one training loop
step        what a batch does; the distillation loss
scores      difficulty: forgetting, C-score, logits
distill     SRe2L and CDA; MTT, DATM, DSA, DM
select      coarse-to-fine selection: Eq. 5 and Eq. 6
curriculum  Algorithm 1
selmatch    Section 3: windows and the two variants
coresets    the other selections of Table 1
glister     Glister, one of them
arms        what is compared: one table
metrics     fair scores of a distilled set
paper       the numbers and sentences that it prints
experiment  all settings
pipeline    from settings to trained networks
sweep       arms x seeds as one command
table1      every row of Table 1
cost        image passes and minutes
store       computed stages, kept
results     measured cells
statistics  intervals
claims      the paper's claims, tested
report      tables, figures and sentences of the book
explorer    the map of a curriculum
commands    behind ``ccfs``
cli         the command line
runtime     devices, memory, workers, files
errors      what a user is meant to read

Import what you need, e.g. ``from ccfs_lib.select import coarse_to_fine``. Nothing is
imported here, so that a notebook can refuse bad parameters before it pays two seconds
for torch.
"""

__version__ = "0.2.0"
