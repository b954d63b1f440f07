"""Common needs of the chapters: a session, data, networks and training."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.training import Fit, fit, sweep
from companion.lab.walls import street_digits
