"""What every experiment needs: a session, data, networks, training."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.training import Fit, fit, sweep
from companion.lab.workers import WorkersFailed, joined, run_workers

__all__ = [
    "Dataset",
    "Fit",
    "WorkersFailed",
    "cnn",
    "fit",
    "get_device",
    "joined",
    "load_data",
    "mlp",
    "recompute_statistics",
    "run_workers",
    "start_session",
    "sweep",
]
