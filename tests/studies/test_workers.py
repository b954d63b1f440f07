"""Workers that are started together end together: with results, or soon, with an error that names who failed."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from companion.studies import workers as module
from companion.studies.workers import WorkersFailed, run_workers

ROOT = Path(__file__).parents[2]
slow = pytest.mark.slow

# The start of every program below: `train` trains, worker 1 does `mischief` in the third step. What happens is told by
# files in the test's folder: {RANK}.pid, {RANK}.training, {RANK}.still, mischief.
START = """
import os, signal, sys, threading, time, warnings
from pathlib import Path
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
folder, out = Path(sys.argv[1]), Path(sys.argv[sys.argv.index("--out") + 1])
Path(folder, f"{rank}.part").write_text(str(os.getpid()))
Path(folder, f"{rank}.part").rename(folder / f"{rank}.pid")

def still():
    Path(folder, f"{rank}.still").touch()
    time.sleep(10**6)

import torch
import torch.distributed as dist
from companion.studies.workers import joined
from companion.norms import SyncBatchNorm

def train(mischief, steps=5):
    layer = SyncBatchNorm(3)
    for step in range(steps):
        if rank == 1 and step == 2:
            Path(folder, "mischief").touch()
            mischief()
        layer(torch.randn(4, 3, requires_grad=True)).square().sum().backward()
        Path(folder, f"{rank}.training").touch()

def leave():
    torch.save(rank, out / f"{rank}.pt")
"""

INSIDE = "\nwith joined():\n    train(lambda: ({}))\n    leave()\n"
ENDLESS = "\nwith joined():\n    train(lambda: None, steps=10**9)\n    leave()\n"


def program(folder, body):
    """Write a program, and return its path."""
    path = folder / "program.py"
    path.write_text(START + textwrap.dedent(body))
    return str(path)


def alive(folder):
    """Return process ids, left by the workers in ``folder``, that still run."""
    return [path.read_text() for path in folder.glob("*.pid") if running(int(path.read_text()))]


def all_there(folder, ranks, what):
    """Return whether each worker has left its file of this kind."""
    return all((folder / f"{rank}.{what}").exists() for rank in range(ranks))


def since(path):
    """Return seconds since a file was written."""
    return time.time() - path.stat().st_mtime


def running(pid):
    """Return whether a process still runs: one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    try:
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_workers_that_are_no_number(workers):
    with pytest.raises(ValueError, match="^workers must be a positive whole number .*, but got .*; 1 is the least"):
        run_workers("program.py", workers)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeouts_that_are_no_time(timeout):
    with pytest.raises(ValueError, match="^timeout must be above 0"):
        run_workers("program.py", 1, timeout=timeout)


@slow
@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_by_rank(workers, tmp_path):
    path = program(tmp_path, INSIDE.format("None"))
    assert run_workers(path, workers, [str(tmp_path)]) == list(range(workers))
    assert len(list(tmp_path.glob("*.pid"))) == workers
    assert alive(tmp_path) == []


@slow
@pytest.mark.parametrize(
    ("mischief", "rank", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "was killed by SIGKILL; .*wrote nothing"),
        ("1 / 0", 1, "ended with exit code 1; .*ZeroDivisionError"),
        ("sys.exit(7)", 1, "ended with exit code 7"),
        ("sys.exit(0)", 1, "ended without a result"),
        ("os._exit(0)", 1, "ended without a result"),
        ("os.abort()", 1, "was killed by SIGABRT"),
    ],
)
def test_whoever_fails_in_training_ends_all_and_is_named(mischief, rank, said, tmp_path, soon, guard):
    path = program(tmp_path, INSIDE.format(mischief))
    with pytest.raises(WorkersFailed, match=re.compile(f"^rank {rank} of 3 workers {said}", re.S)) as caught:
        run_workers(path, 3, [str(tmp_path)], timeout=guard)
    soon(since(tmp_path / "mischief"), 2)
    assert caught.value.rank == rank
    assert alive(tmp_path) == []


@slow
def test_a_worker_that_is_killed_from_outside_ends_all_within_two_seconds(tmp_path, until, soon, guard):
    # A process of its own runs the workers, as a kernel does, so that this one can kill.
    script = (
        f"import time\nfrom companion.studies.workers import run_workers\ntry:\n"
        f"    run_workers({program(tmp_path, ENDLESS)!r}, 3, [{str(tmp_path)!r}], timeout={guard})\n"
        "except RuntimeError as error:\n    print(time.time(), error)\n"
    )
    kernel = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: all_there(tmp_path, 3, "training"), "the workers train")
        assert len(alive(tmp_path)) == 3
        killed = time.time()
        os.kill(int((tmp_path / "2.pid").read_text()), signal.SIGKILL)
        printed, _ = kernel.communicate(timeout=guard)
    finally:
        kernel.kill()
        kernel.wait()
    ended, _, message = printed.partition(" ")
    soon(float(ended) - killed, 2)
    assert message.startswith("rank 2 of 3 workers was killed by SIGKILL; all were ended.")
    assert alive(tmp_path) == []


@slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_when_the_notebook_dies_or_is_interrupted_so_do_its_workers(number, tmp_path, until, guard):
    script = (
        "from companion.studies.workers import run_workers\n"
        f"run_workers({program(tmp_path, ENDLESS)!r}, 2, [{str(tmp_path)!r}], timeout={guard})\n"
    )
    kernel = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        until(lambda: all_there(tmp_path, 2, "training"), "the workers train")
        assert len(alive(tmp_path)) == 2
        kernel.send_signal(number)
        kernel.wait(timeout=guard)
        until(lambda: not alive(tmp_path), "the workers end")
    finally:
        kernel.kill()
        kernel.wait()


class Clock:
    """The clock of ``run_workers``: it leaps by an hour once something has happened, and counts the looks after."""

    def __init__(self, happened):
        self.happened, self.leapt, self.looks = happened, None, 0

    def monotonic(self):
        """Return seconds, an hour more after the leap."""
        now = time.monotonic()
        if self.leapt is None and self.happened():
            self.leapt = now
        if self.leapt is None:
            return now
        self.looks += 1
        return now + 3600

    def sleep(self, seconds):
        """Sleep as ever."""
        time.sleep(seconds)


@slow
@pytest.mark.parametrize(
    ("body", "who"),
    [
        ("if rank == 1:\n    still()\nwith joined():\n    leave()\n", [1]),  # never joins
        ("with joined():\n    train(still)\n    leave()\n", [1]),  # joins, then stands still
        # has started another
        (
            "import subprocess\nother = subprocess.Popen(['sleep', '100000'])\n"
            "Path(folder, f'other{rank}.pid').write_text(str(other.pid))\nstill()\n",
            [0, 1],
        ),
    ],
)
def test_nobody_waits_longer_than_the_timeout(body, who, tmp_path, monkeypatch, soon):
    clock = Clock(lambda: all_there(tmp_path, 2, "pid") and all((tmp_path / f"{rank}.still").exists() for rank in who))
    monkeypatch.setattr(module, "time", clock)
    with pytest.raises(WorkersFailed, match="^rank [01] of 2 workers had not ended after 3000 seconds; all were ended"):
        run_workers(program(tmp_path, body), 2, [str(tmp_path)], timeout=3000)
    assert clock.looks == 1
    soon(time.monotonic() - clock.leapt, 4)
    assert alive(tmp_path) == []
    assert len(list(tmp_path.glob("*.pid"))) == (4 if "other" in body else 2)


def test_the_timeout_is_one_of_real_seconds(tmp_path, soon):
    began = time.monotonic()
    with pytest.raises(WorkersFailed, match="^rank 0 of 2 workers had not ended after 0.5 seconds; all were ended"):
        run_workers(program(tmp_path, "still()\n"), 2, [str(tmp_path)], timeout=0.5)
    taken = time.monotonic() - began
    assert taken >= 0.5
    soon(taken, 4)
    assert alive(tmp_path) == []


@slow
def test_a_program_that_does_not_start_is_said_so(tmp_path):
    with pytest.raises(WorkersFailed, match=re.compile("exit code 2.*No such file or directory", re.S)):
        run_workers(str(tmp_path / "missing.py"), 2)
    with pytest.raises(WorkersFailed, match=re.compile("exit code 1.*No module named", re.S)):
        run_workers("companion.lab.missing", 2)


@slow
def test_results_are_data_not_code(tmp_path):
    body = "class Odd: pass\ntorch.save(Odd(), out / f'{rank}.pt')\n"
    with pytest.raises(Exception, match="[Ww]eights.only"):
        run_workers(program(tmp_path, body), 1, [str(tmp_path)])


@slow
def test_two_runs_at_once_take_ports_of_their_own(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    path = program(tmp_path, INSIDE.format("None"))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda folder: run_workers(path, 2, [str(folder)]), folders)) == [[0, 1], [0, 1]]


SMALL = ["--seeds", "100", "101", "--shards", "20,12", "32,0", "--steps", "3", "--workers", "1", "2", "--examples", "8"]


@slow
def test_the_worker_of_chapter_7_finds_the_same_under_torchrun_on_one_host_and_on_two(tmp_path, guard):
    ours = run_workers("companion.studies.sync_gradients", 2, SMALL)
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    study = ["-m", "companion.studies.sync_gradients", *SMALL, "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COMPANION_DEVICE": "cpu"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    one = tmp_path / "one"
    one.mkdir()
    run = subprocess.run(
        [*torchrun, "--standalone", "--nproc-per-node", "2", *study, str(one)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=guard,
    )
    assert run.returncode == 0, run.stderr
    two = tmp_path / "two"
    two.mkdir()
    meet = free_address()
    hosts = [
        subprocess.Popen(
            [
                *torchrun,
                "--nnodes",
                "2",
                "--nproc-per-node",
                "1",
                "--node-rank",
                str(number),
                "--master-addr",
                meet[0],
                "--master-port",
                meet[1],
                *study,
                str(two),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        for host in hosts:
            assert host.wait(timeout=guard) == 0, host.stderr.read()
    finally:
        for host in hosts:
            host.kill()
            host.wait()
            host.stderr.close()
    for folder in (one, two):
        for rank in range(2):
            same(torch.load(folder / f"{rank}.pt"), ours[rank])


@slow
def test_torchruns_python_api_ends_all_when_a_worker_is_killed(tmp_path, soon):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # as the notebook of chapter 7 launches its workers
    config = LaunchConfig(
        1, 1, 2, run_id="test", local_addr="localhost", rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0
    )
    path = program(tmp_path, INSIDE.format("os.kill(os.getpid(), signal.SIGKILL)"))
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config, sys.executable)(path, str(tmp_path), "--out", str(tmp_path))
    soon(since(tmp_path / "mischief"), 30)
    # It may name the one who missed the other: that is why there is `run_workers`.
    assert set(caught.value.failures) <= {0, 1}
    assert len(list(tmp_path.glob("*.pid"))) == 2 and alive(tmp_path) == []


def free_address():
    """Return an address and a port where two hosts, both this one, can meet."""
    import socket

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return "127.0.0.1", str(place.getsockname()[1])


def same(one, other):
    """Assert that both results hold the same numbers, to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    else:
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
