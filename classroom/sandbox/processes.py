"""The place where a submission runs: a process of its own, cut off from files and network where the system can."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from classroom.sandbox.isolation import FONTS, MARK, bubblewrap, changes_user, environment_of, fonts
from classroom.sandbox.limits import Limits

FIRST_USER, USERS = 58000, 1000  # numbers that hardly any user has, for an instructor who is root


class Sandbox:
    """A process that runs a submission, and all that it starts.

    Args:
        isolation: What :func:`find_isolation` gives.
        limits: What the process may use.
        private: Folders to hide even where they lie in one that must be shown, as Python's.
    """

    def __init__(self, isolation: str, limits: Limits, private: Sequence[Path] = ()) -> None:
        self.limits, self.stopped = limits, ""
        self.mark = os.environ.get(MARK, "") + uuid.uuid4().hex
        self.folder = tempfile.TemporaryDirectory(prefix="companion-", ignore_cleanup_errors=True)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self.link, theirs = socket.socketpair()
        user = FIRST_USER + os.getpid() % USERS if isolation == "bubblewrap" and changes_user() else None
        home = "/tmp" if isolation == "bubblewrap" else self.folder.name
        about = {"limits": asdict(limits), "link": theirs.fileno(), "user": user, "home": home}
        about["processes_now"] = 0 if isolation == "bubblewrap" else _processes_of_user()
        about["fonts"] = FONTS if isolation == "bubblewrap" else fonts()
        command = [sys.executable, "-m", "classroom.inside.runner", json.dumps(about)]
        environment = environment_of(home, self.mark)
        if isolation == "bubblewrap":
            command = [*bubblewrap(environment, private), *command]
        self.process = subprocess.Popen(
            command,
            cwd="/" if isolation == "bubblewrap" else home,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )
        theirs.close()
        self._open = True
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> str:
        """End the process and all that it started; why it ended, if it had ended before."""
        self._open = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5 if self._ended() else 0)
        ended = self.process.poll()
        self._kill()
        self.link.close()
        self._watcher.join()
        self._said.seek(0)
        said = self._said.read(10_000).decode(errors="replace").strip().splitlines()  # before the first cell only
        self._said.close()
        self.folder.cleanup()
        return ": ".join(filter(None, [self.stopped or _ending(ended), *said[-1:]]))

    def _ended(self) -> bool:
        """Whether the process has closed its end of the link, and so is about to be gone."""
        try:
            self.link.settimeout(0)
            return self.link.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return False

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for _ in range(100):  # one that is just being started shows up in the next round
            left = [process for process in psutil.process_iter() if self._is_ours(process)]
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.02)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False  # another user's, or gone

    def _watch(self) -> None:
        """What a kernel does not limit: the memory of all processes together, and where it must, their number."""
        while self._open and self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                first = psutil.Process(self.process.pid)
                processes = [first, *first.children(recursive=True)]
                if len(processes) > self.limits.processes + 2:  # bubblewrap itself is two
                    self._stop(f"it ran more than {self.limits.processes} processes")
                elif _memory(processes) > self.limits.memory * 1.25:  # what the kernel limits is not quite this
                    self._stop(f"it used more than {self.limits.memory / 2**30:.2g} GB of memory")
            time.sleep(0.2)

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why
        self.process.kill()


def _processes_of_user() -> int:
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            count += process.num_threads() if process.uids().real == os.getuid() else 0
    return count


def _memory(processes: list[psutil.Process]) -> int:
    sizes = [process.memory_info().rss for process in processes]
    if sum(sizes) <= 2**28:
        return sum(sizes)
    own = [process.memory_full_info().uss for process in processes]  # what is shared counts once
    return max(sizes) + sum(own) - own[sizes.index(max(sizes))]


def _ending(code: int | None) -> str:
    if code is None:
        return ""
    number = -code if code < 0 else code - 128  # bubblewrap's way of telling a signal
    if number in set(signal.Signals):
        return f"its process was killed by {signal.Signals(number).name}"
    return f"it ended its process, with exit code {code}"
