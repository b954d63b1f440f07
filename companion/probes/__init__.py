"""What one measures on a network: any torch model and loss, not only ours."""

from companion.probes.calibration import Reliability, interval_coverage, reliability
from companion.probes.directions import effective_rate, radial_and_tangential
from companion.probes.invariance import is_scale_invariant, scale_invariant_parameters, scale_sensitivity
from companion.probes.noise import best_constant_std, best_precision
from companion.probes.schedules import EquivalentSchedule, equivalent_schedule, replace_weight_decay
from companion.probes.scores import (
    best_crps,
    best_log_likelihood,
    gaussian_crps,
    gaussian_log_likelihood,
    mixture_log_likelihood,
    normalized_score,
)
from companion.probes.uncertainty import Classification, MonteCarloBatchNorm, Regression, mc_batch_norm

__all__ = [
    "Classification",
    "EquivalentSchedule",
    "MonteCarloBatchNorm",
    "Regression",
    "Reliability",
    "best_constant_std",
    "best_crps",
    "best_log_likelihood",
    "best_precision",
    "effective_rate",
    "equivalent_schedule",
    "gaussian_crps",
    "gaussian_log_likelihood",
    "interval_coverage",
    "is_scale_invariant",
    "mc_batch_norm",
    "mixture_log_likelihood",
    "normalized_score",
    "radial_and_tangential",
    "reliability",
    "replace_weight_decay",
    "scale_invariant_parameters",
    "scale_sensitivity",
]
