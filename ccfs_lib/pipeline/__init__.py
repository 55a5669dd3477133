"""From settings to results: each stage is computed once and kept.

trainings (images, networks, resumable trainings), squeeze (teacher, difficulty),
recover (distilled images), pipeline (phases, arms), section3 (SelMatch and its
variants), table1 (the rows of Table 1), sets (theirs), work (what they cost), measure
(rows of results).
"""

from ccfs_lib.pipeline.measure import EVALUATION, measured_rows
from ccfs_lib.pipeline.pipeline import Pipeline
from ccfs_lib.pipeline.section3 import Section3Pipeline

__all__ = ["EVALUATION", "Pipeline", "Section3Pipeline", "measured_rows"]
