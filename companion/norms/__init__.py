"""Normalization schemes: who shares a mean and a variance."""

from companion.norms.layers import BatchNorm, GhostBatchNorm, GroupNorm, InstanceNorm, LayerNorm
from companion.norms.sharing import moments, normalize, standardize

__all__ = [
    "BatchNorm",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "moments",
    "normalize",
    "standardize",
]
