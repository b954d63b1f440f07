"""A submission's process as a judge sees it: it is asked, and answers, or is gone."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classroom.sandbox import messages as wire
from classroom.sandbox.limits import Limits
from classroom.sandbox.processes import Sandbox

STARTING = 120.0  # seconds for importing torch on a busy machine
GRACE = 2.0  # seconds between an interrupt and the end


class Died(BaseException):
    """The submission's process is gone; no check may take this for an error of the answer."""


class Run:
    """A submission's process, and the next one where it has ended."""

    def __init__(self, isolation: str, limits: Limits, private: Sequence[Path]) -> None:
        self.place = (isolation, limits, private)
        self.limits, self.sandbox, self.starts, self.over = limits, None, 0, ""
        self.end = time.monotonic() + STARTING + limits.seconds_in_all

    def start(self, again: list[str]) -> None:
        """Have a process that has run the cells; one that does not survive this is taken from them."""
        while self.sandbox is None:
            if self.over:
                raise Died(self.over)
            if self.starts > self.limits.restarts:
                self.over = f"given up after it ended its process {self.starts} times"
                raise Died(self.over)
            self.starts += 1
            self.sandbox = Sandbox(*self.place)
            try:
                hello = self._receive(STARTING)
            except Died as died:
                self.over = f"the sandbox did not start: {died}"
                raise Died(self.over) from None
            if hello != "ready":
                raise AssertionError("the sandbox does not speak")
            if self.starts == 1:
                self.end = time.monotonic() + self.limits.seconds_in_all
            for source in list(again):
                try:
                    self.ask({"source": source})
                except Died:
                    again.remove(source)
                    break

    def ask(self, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Send a request, and wait for the reply; Died if none comes."""
        left = self.end - time.monotonic()
        seconds = min(self.limits.seconds if seconds is None else seconds, max(left, 0.1))
        with contextlib.suppress(wire.Closed, wire.TooLate):  # receiving tells why
            wire.send(self.sandbox.link, {**request, "seconds": seconds}, time.monotonic() + seconds + GRACE)
        reply = self._receive(seconds + GRACE)
        if left <= seconds and self.end < time.monotonic():
            self.over = f"the notebook was stopped after {self.limits.seconds_in_all:.0f} s in all"
            self.stop()
            raise Died(self.over)
        if not isinstance(reply, dict):
            self.stop()
            raise Died("its process sent something that is no reply")
        return reply

    def stop(self) -> str:
        """End the process, if there is one; why it had ended before."""
        sandbox, self.sandbox = self.sandbox, None
        return sandbox.close() if sandbox else ""

    def _receive(self, seconds: float) -> Any:
        try:
            return wire.receive(self.sandbox.link, time.monotonic() + seconds)
        except wire.Closed:
            raise Died(self.stop() or "its process closed the line") from None
        except wire.TooLate:
            self.stop()
            raise Died(f"it was killed after {seconds:.0f} s, since it did not stop when told to") from None
        except wire.BadMessage as error:
            self.stop()
            raise Died(f"its process sent something that is no reply: {error}") from None
