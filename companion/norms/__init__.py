"""Normalization schemes: who shares a mean and a variance."""

from companion.norms.layers import BatchNorm, GhostBatchNorm, GroupNorm, InstanceNorm, LayerNorm
from companion.norms.sharing import moments, normalize, standardize
from companion.norms.weight import MeanOnlyBatchNorm, WeightNorm, data_dependent_init, fold_weight_norm, weight_norm

__all__ = [
    "BatchNorm",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "MeanOnlyBatchNorm",
    "WeightNorm",
    "data_dependent_init",
    "fold_weight_norm",
    "moments",
    "normalize",
    "standardize",
    "weight_norm",
]
