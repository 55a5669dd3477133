"""From settings to results: each stage is computed once and kept.

trainings, squeeze, stages, pipeline; section3 (SelMatch and its variants).
"""

from ccfs_lib.pipeline.pipeline import EVALUATION, Pipeline

__all__ = ["EVALUATION", "Pipeline"]
