"""Common needs of the chapters: a session, data, networks, training, worker processes."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.training import Fit, fit, sweep
from companion.lab.workers import WorkersFailed, joined, run_workers
