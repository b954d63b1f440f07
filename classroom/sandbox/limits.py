"""Limits on what a submission may use of the machine."""

import contextlib
import resource
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on a submission; whatever goes over one is stopped and named.

    Args:
        seconds: Of one cell, and of one cell's test.
        seconds_in_all: Of one notebook, whatever its cells do.
        memory: Bytes, of all its processes together; torch needs about 350 MB of them.
        processes: How many at one time, threads included.
        output: Characters that a notebook may print or draw; the rest is cut.
        file_size: Bytes of the largest file that it may write, and of all its files where there is a sandbox.
        restarts: How often a notebook that ended its process may go on without the cell that did so.
    """

    seconds: float = 60.0
    seconds_in_all: float = 300.0
    memory: int = 2 * 2**30
    processes: int = 64
    output: int = 1_000_000
    file_size: int = 128 * 2**20
    restarts: int = 3

    def install(self, processes_now: int = 0) -> None:
        """Bind this process and its children to the limits that a kernel can keep; there is no way back.

        Args:
            processes_now: What the same user runs already, where that is counted together.
        """
        bounds = {
            resource.RLIMIT_DATA: self.memory,  # not AS: a torch with CUDA maps more than any machine has
            resource.RLIMIT_FSIZE: self.file_size,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: int(2 * self.seconds_in_all) + 1,
            resource.RLIMIT_NPROC: self.processes + processes_now,
        }
        for kind, bound in bounds.items():
            _, highest = resource.getrlimit(kind)
            bound = bound if highest == resource.RLIM_INFINITY else min(bound, highest)
            with contextlib.nullcontext() if sys.platform == "linux" else contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, (bound, bound))
