"""What every experiment needs: a session, data, networks, training."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.training import Fit, fit, sweep

__all__ = [
    "Dataset",
    "Fit",
    "cnn",
    "fit",
    "get_device",
    "load_data",
    "mlp",
    "recompute_statistics",
    "start_session",
    "sweep",
]
