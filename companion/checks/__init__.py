"""Checks of exercises, one module a chapter: they observe an answer, compare it, and name its mistake."""

from companion.checks.batch_norm_layer import check_batch_norm, compare_batch_norm
from companion.checks.wrong_batch_norms import MISTAKES, CompactBatchNorm
