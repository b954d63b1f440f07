"""Normalization schemes: who shares a mean and a variance."""

from companion.norms.initialization import data_dependent_init
from companion.norms.layers import BatchNorm, GhostBatchNorm, GroupNorm, InstanceNorm, LayerNorm
from companion.norms.sharing import moments, normalize, standardize
from companion.norms.sync import SyncBatchNorm, convert_sync_batch_norm
from companion.norms.weight import MeanOnlyBatchNorm, WeightNorm, fold_weight_norm, weight_norm
