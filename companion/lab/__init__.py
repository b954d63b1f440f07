"""What every experiment needs: a session, data, networks, training."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.training import Fit, fit, sweep
from companion.lab.trials import Trials, run_trials
from companion.lab.uci import Table, load_uci, standard_splits
from companion.lab.uci_trials import compare_with_submission, run_uci
from companion.lab.workers import WorkersFailed, joined, run_workers

__all__ = [
    "Dataset",
    "Fit",
    "Table",
    "Trials",
    "WorkersFailed",
    "cnn",
    "compare_with_submission",
    "fit",
    "get_device",
    "joined",
    "load_data",
    "load_uci",
    "mlp",
    "recompute_statistics",
    "run_trials",
    "run_uci",
    "run_workers",
    "standard_splits",
    "start_session",
    "sweep",
]
