"""What one measures on a network: any torch model and loss, not only ours."""

from companion.probes.directions import effective_rate, radial_and_tangential
from companion.probes.invariance import is_scale_invariant, scale_invariant_parameters, scale_sensitivity
from companion.probes.schedules import EquivalentSchedule, equivalent_schedule, replace_weight_decay

__all__ = [
    "EquivalentSchedule",
    "effective_rate",
    "equivalent_schedule",
    "is_scale_invariant",
    "radial_and_tangential",
    "replace_weight_decay",
    "scale_invariant_parameters",
    "scale_sensitivity",
]
