"""What several test modules need."""

import os
import subprocess
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")  # tests have no screen; not by MPLBACKEND, which the kernels that tests start would inherit

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root():
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def missing():
    """Call with a reason where a tool is missing: skips on a reader's machine, fails in CI, where nothing may be."""
    return pytest.fail if os.environ.get("COMPANION_CI") else pytest.skip


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of the files that git tracks or would track: what a fresh clone would hold."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(source.read_bytes())
    return copy
