"""What the exercises need: checks that name a mistake, and the mistakes."""

from companion.course.checks import check_batch_norm, compare_batch_norm
from companion.course.mistakes import MISTAKES, CompactBatchNorm

__all__ = ["MISTAKES", "CompactBatchNorm", "check_batch_norm", "compare_batch_norm"]
