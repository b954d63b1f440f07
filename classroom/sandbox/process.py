"""A process that runs a submission, cut off from files and network where the system can, and a session with it."""

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
from typing import Any

import psutil

from classroom.sandbox import messages
from classroom.sandbox.isolation import FONTS, MARK, bubblewrap, changes_user, environment_of, fonts
from classroom.sandbox.limits import Limits

STARTING = 120.0  # seconds for importing torch on a busy machine
GRACE = 2.0  # seconds between an interrupt and the end
FIRST_USER, USERS = 58000, 1000  # numbers that hardly any user has, for an instructor who is root


class ProcessDied(BaseException):
    """End of the submission's process; no check may take this for an error of the answer."""


class Session:
    """Session with the sandboxed process: send a request, receive a reply, restart it if it dies.

    Args:
        isolation: As :func:`classroom.sandbox.isolation.find_isolation` returns it.
        limits: What the process may use.
        private: Folders to hide even where they lie in one that must be shown, as Python's.
    """

    def __init__(self, isolation: str, limits: Limits, private: Sequence[Path] = ()) -> None:
        self.limits, self.process, self.starts = limits, None, 0
        self.error = ""  # why there is no process any more, once there is none
        self._options = isolation, limits, private
        self._end = time.monotonic() + STARTING + limits.seconds_in_all

    def start(self, sources: list[str]) -> None:
        """Start a process if there is none, and run cells in it; one that ends the process is taken from the list."""
        while self.process is None:
            if self.starts > self.limits.restarts and not self.error:
                self.error = f"given up after it ended its process {self.starts} times"
            if self.error:
                raise ProcessDied(self.error)
            self.starts += 1
            self.process = SandboxedProcess(*self._options)
            try:
                greeting = self._receive(STARTING)
            except ProcessDied as died:
                self.error = f"the sandbox did not start: {died}"
                raise ProcessDied(self.error) from None
            if greeting != "ready":
                raise AssertionError("the sandbox does not speak")
            if self.starts == 1:
                self._end = time.monotonic() + self.limits.seconds_in_all
            for source in list(sources):
                try:
                    self.ask({"source": source})
                except ProcessDied:
                    sources.remove(source)
                    break

    def ask(self, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Send a request and return the reply; raise ProcessDied if none comes."""
        left = self._end - time.monotonic()
        seconds = min(self.limits.seconds if seconds is None else seconds, max(left, 0.1))
        with contextlib.suppress(messages.Closed, messages.TooLate):  # receiving tells why
            messages.send(self.process.link, {**request, "seconds": seconds}, time.monotonic() + seconds + GRACE)
        reply = self._receive(seconds + GRACE)
        if left <= seconds and self._end < time.monotonic():
            self.error = f"the notebook was stopped after {self.limits.seconds_in_all:.0f} s in all"
            raise self._died(self.error)
        if not isinstance(reply, dict):
            raise self._died("its process sent something that is no reply")
        return reply

    def close(self) -> str:
        """End the process, if there is one, and return why it had ended before."""
        process, self.process = self.process, None
        return process.close() if process else ""

    def _receive(self, seconds: float) -> Any:
        try:
            return messages.receive(self.process.link, time.monotonic() + seconds)
        except messages.Closed:
            raise ProcessDied(self.close() or "its process closed the line") from None
        except messages.TooLate:
            raise self._died(f"it was killed after {seconds:.0f} s, since it did not stop when told to") from None
        except messages.BadMessage as error:
            raise self._died(f"its process sent something that is no reply: {error}") from None

    def _died(self, error: str) -> ProcessDied:
        """End the process, and return an exception with this error."""
        self.close()
        return ProcessDied(error)


class SandboxedProcess:
    """One process that runs a submission, and all that it starts; the arguments are those of :class:`Session`."""

    def __init__(self, isolation: str, limits: Limits, private: Sequence[Path] = ()) -> None:
        self.limits, self.error = limits, ""
        self.mark = os.environ.get(MARK, "") + uuid.uuid4().hex
        self.folder = tempfile.TemporaryDirectory(prefix="companion-", ignore_cleanup_errors=True)
        self.link, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        isolated = isolation == "bubblewrap"
        home = "/tmp" if isolated else self.folder.name
        settings = {
            "limits": asdict(limits),
            "link": theirs.fileno(),
            "user": FIRST_USER + os.getpid() % USERS if isolated and changes_user() else None,
            "home": home,
            "processes_now": 0 if isolated else _processes_of_user(),
            "fonts": FONTS if isolated else fonts(),
        }
        environment = environment_of(home, self.mark)
        command = [sys.executable, "-m", "classroom.inside.runner", json.dumps(settings)]
        self.process = subprocess.Popen(
            [*bubblewrap(environment, private), *command] if isolated else command,
            cwd="/" if isolated else home,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,
        )
        theirs.close()
        self._open = True
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> str:
        """End the process and all that it started, and return why it ended, if it had ended before."""
        self._open = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5 if self._is_ending() else 0)
        code = self.process.poll()
        self._kill()
        self.link.close()
        self._watcher.join()
        self._stderr.seek(0)
        lines = self._stderr.read(10_000).decode(errors="replace").strip().splitlines()  # before the first cell only
        self._stderr.close()
        self.folder.cleanup()
        return ": ".join(filter(None, [self.error or _ending(code), *lines[-1:]]))

    def _is_ending(self) -> bool:
        """Return whether the process has closed its end of the link, and so is about to be gone."""
        with contextlib.suppress(OSError):
            self.link.settimeout(0)
            return self.link.recv(1, socket.MSG_PEEK) == b""
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
        with contextlib.suppress(psutil.Error, OSError):
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        return False  # another user's, or gone

    def _watch(self) -> None:
        """Enforce what a kernel does not: the memory of all processes together, and where it must, their number."""
        while self._open and self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                first = psutil.Process(self.process.pid)
                processes = [first, *first.children(recursive=True)]
                if len(processes) > self.limits.processes + 2:  # bubblewrap itself is two
                    self._stop(f"it ran more than {self.limits.processes} processes")
                elif _memory(processes) > self.limits.memory * 1.25:  # what the kernel limits is not quite this
                    self._stop(f"it used more than {self.limits.memory / 2**30:.2g} GB of memory")
            time.sleep(0.2)

    def _stop(self, error: str) -> None:
        self.error = self.error or error
        self.process.kill()


def _processes_of_user() -> int:
    found = [process.info for process in psutil.process_iter(["uids", "num_threads"])]
    return sum(each["num_threads"] or 0 for each in found if each["uids"] and each["uids"].real == os.getuid())


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
