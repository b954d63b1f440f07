"""Experiments that serve one chapter and are too long for a cell, and worker processes for one of them."""

from companion.studies.uci.published import compare_with_submission, run_uci
from companion.studies.uci.tables import Table, load_uci, standard_splits
from companion.studies.uci.trials import Trials, run_trials
from companion.studies.workers import WorkersFailed, joined, run_workers
