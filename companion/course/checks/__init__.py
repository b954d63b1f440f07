"""Checks of an answer, a module a chapter: silent where it is right, else one sentence that names the mistake."""

from companion.course.checks.batch_norm_layer import check_batch_norm, compare_batch_norm

__all__ = ["check_batch_norm", "compare_batch_norm"]
