"""Hands-on companion to the normalization section of *Understanding Deep Learning*: the names that notebooks use.

A room is loaded when one of its names is first used (PEP 562): ``import companion.norms`` loads torch and nothing else.
"""

from importlib import import_module

ROOMS = {
    "norms": """
        BatchNorm GhostBatchNorm GroupNorm InstanceNorm LayerNorm MeanOnlyBatchNorm SyncBatchNorm WeightNorm
        convert_sync_batch_norm data_dependent_init fold_weight_norm standardize weight_norm
    """,
    "probes": """
        Classification EquivalentSchedule GradientShift MonteCarloBatchNorm Regression Reliability Signals
        Walk batch_noise best_constant_std best_crps best_log_likelihood best_precision effective_rate
        equivalent_schedule excess_loss gaussian_crps gaussian_log_likelihood gradient_shift interval_coverage
        is_scale_invariant loss_along mc_batch_norm mixture_log_likelihood normalized_score
        radial_and_tangential reliability replace_weight_decay scale_invariant_parameters scale_sensitivity
        signal_propagation
    """,
    "lab": """
        Dataset Fit cnn fit get_device load_data mlp recompute_statistics start_session street_digits sweep
    """,
    "show": """
        INK MUTED SCHEMES Claim Measured above at_least at_most band below between dots label_panels summarize track
    """,
    "figures": """
        BatchMates ChannelGroups Contrast Doubt Ghosts Guesses Prediction Scatter Shards Spiral Tokens Twins
        WeightSplit WhoShares
    """,
    "checks": "MISTAKES check_batch_norm compare_batch_norm",
    "studies": """
        Table WorkersFailed compare_with_submission load_uci run_trials run_uci run_workers standard_splits
    """,
}
ROOM_OF = {name: room for room, names in ROOMS.items() for name in names.split()}
__all__ = sorted(ROOM_OF)


def __getattr__(name: str):
    if name in ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{ROOM_OF[name]}"), name)
    globals()[name] = value  # the next time, Python finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *ROOMS})
