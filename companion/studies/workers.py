"""Worker processes for a notebook: started together, watched, and ended together, whatever becomes of one of them.

A worker gets the variables that ``torchrun`` sets, so the same file runs under ``torchrun`` too, on one host or more.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from companion.lab.session import get_device
from companion.norms.sharing import check_positive_int

PATIENCE = 60  # seconds that a worker waits for the others in one exchange
GRACE = 0.5  # seconds that the others get to fail too, once one has: only then is it known who was first
LOOK = 0.02  # seconds between two looks


class WorkersFailed(RuntimeError):
    """A worker failed or took too long; ``rank`` is the first one that did."""

    def __init__(self, message: str, rank: int) -> None:
        super().__init__(message)
        self.rank = rank


@contextmanager
def joined() -> Iterator[torch.device]:
    """Join the other workers and yield the device to work on; leave them at the end. To be called in a worker.

    That is a GPU of its own, with NCCL, where there is one for every worker of this host; else the CPU, with gloo.
    A worker waits for the others for a minute at most, and ends when the notebook that started it does. An error
    inside ends the process at once.
    """
    torch.set_num_threads(1)
    if "COMPANION_NOTEBOOK" in os.environ:
        threading.Thread(target=_end_with_notebook, daemon=True).start()
    if sys.platform == "linux" and os.environ["MASTER_ADDR"] in ("localhost", "127.0.0.1"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a laptop without a network will do
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cpu")
    if get_device().type == "cuda" and torch.cuda.device_count() >= here:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl", timeout=timedelta(seconds=PATIENCE))
    try:
        yield device
    except BaseException as error:
        # Not by the usual way out, which takes down what others still wait for: it can wait too, or abort.
        traceback.print_exc()
        sys.stderr.flush()
        code = error.code if isinstance(error, SystemExit) else 1
        os._exit(code if isinstance(code, int) else int(code is not None))
    dist.barrier()
    dist.destroy_process_group()


def run_workers(program: str, workers: int, arguments: Sequence[str] = (), timeout: float = 120.0) -> list:
    """Run a program in several processes at once, as ``torchrun --standalone`` would, and collect their results.

    Args:
        program: A Python file, or the name of a module. It is given ``--out FOLDER``, and must leave
            there what :func:`torch.save` makes of its result, as ``{RANK}.pt``.
        workers: How many processes.
        arguments: More of its arguments.
        timeout: Seconds after which all are ended.

    Returns:
        The results, by rank.

    Raises:
        WorkersFailed: If a worker raises, is killed, or leaves no result: within two seconds, with its rank and the
            end of its stderr; or after ``timeout``. No process is left behind then, nor after an interrupt.
        ValueError: If ``workers`` or ``timeout`` is not positive.

    Introduced in:
        ``notebooks/07_sync_batch_norm.md``
    """
    workers = check_positive_int("workers", workers)
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, but got {timeout!r}; 120 is the default")
    # The notebook keeps the list of who is there, as torchrun does: it picks a free port, and nobody can take it.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(workers),
        "OMP_NUM_THREADS": "1",
        "COMPANION_NOTEBOOK": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    with tempfile.TemporaryDirectory() as folder:
        what = [program] if program.endswith(".py") else ["-m", program]
        command = [sys.executable, *what, *arguments, "--out", folder]
        crew: list[subprocess.Popen] = []
        try:
            for rank in range(workers):
                crew.append(
                    _start(command, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, _words(folder, rank))
                )
            _watch(crew, folder, time.monotonic() + timeout, timeout)
        finally:
            _end(crew)
        return [torch.load(_result(folder, rank)) for rank in range(workers)]


def _start(command: list[str], variables: dict[str, str], words: Path) -> subprocess.Popen:
    """Start a worker in a session of its own; it notices when this process's end of its stdin is closed."""
    with words.open("wb") as stderr:
        return subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )


def _watch(crew: list[subprocess.Popen], folder: str, deadline: float, timeout: float) -> None:
    """Return when all have ended well; raise WorkersFailed otherwise."""
    give_up = None
    while True:
        codes = [worker.poll() for worker in crew]
        failed = [
            rank
            for rank, code in enumerate(codes)
            if code is not None and (code != 0 or not _result(folder, rank).exists())
        ]
        running = [rank for rank, code in enumerate(codes) if code is None]
        if not running and not failed:
            return
        now = time.monotonic()
        if failed:
            give_up = give_up or now + GRACE
            if not running or now > give_up:
                # The others can only fail, and say so, after the first: its last words are the oldest.
                first = min(failed, key=lambda rank: _words(folder, rank).stat().st_mtime_ns)
                raise WorkersFailed(_message(first, len(crew), _fate(codes[first]), folder), first)
        elif now > deadline:
            fate = f"had not ended after {timeout:g} seconds"
            raise WorkersFailed(_message(running[0], len(crew), fate, folder), running[0])
        time.sleep(LOOK)


def _fate(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return "ended without a result" if code == 0 else f"ended with exit code {code}"


def _message(rank: int, workers: int, fate: str, folder: str) -> str:
    lines = _words(folder, rank).read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    words = "\n".join(["It wrote to stderr, at the end:", *lines]) if lines else "It wrote nothing to stderr."
    return f"rank {rank} of {workers} workers {fate}; all were ended. {words}"


def _end(crew: list[subprocess.Popen]) -> None:
    """Kill what still runs, with all that it started, and wait until it is gone."""
    for worker in crew:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)  # its own session: its pid is its group's
    for worker in crew:
        worker.stdin.close()
        worker.wait()


def _end_with_notebook() -> None:
    os.read(0, 1)  # returns when the notebook's end of the pipe closes, however it ended
    os._exit(1)


def _words(folder: str, rank: int) -> Path:
    return Path(folder, f"{rank}.stderr")


def _result(folder: str, rank: int) -> Path:
    return Path(folder, f"{rank}.pt")
