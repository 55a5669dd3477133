"""CCFS: Curriculum Coarse-to-Fine Selection (CVPR 2025), reproduced.

Modules follow the paper's sections; import what you need, e.g.
``from ccfs_lib.select import coarse_to_fine``. Nothing is imported here, so that a
notebook can refuse bad parameters before it pays two seconds for torch.
"""

__version__ = "0.1.0"
