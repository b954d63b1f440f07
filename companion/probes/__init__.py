"""Measurements on a network: any torch model and loss, not only ours."""

from companion.probes.batch_mates import batch_noise, excess_loss
from companion.probes.calibration import Reliability, interval_coverage, reliability
from companion.probes.directions import effective_rate, radial_and_tangential
from companion.probes.invariance import is_scale_invariant, scale_invariant_parameters, scale_sensitivity
from companion.probes.landscape import GradientShift, Walk, gradient_shift, loss_along
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
from companion.probes.signals import Signals, signal_propagation
from companion.probes.uncertainty import (
    Classification,
    MonteCarloBatchNorm,
    Regression,
    mc_batch_norm,
    mc_batch_norm_by_loop,
)
