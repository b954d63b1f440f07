"""Common needs of the chapters: a session, data, networks and training."""

from companion.lab.data import Dataset, load_data
from companion.lab.networks import cnn, mlp, recompute_statistics
from companion.lab.session import get_device, start_session
from companion.lab.street_digits import street_digits
from companion.lab.training import Fit, fit, sweep
