"""The process in which a submission runs: a notebook's cells without a kernel, and its answers to what a judge asks.

It starts with ``python -m classroom.inside.runner``, within limits and, where there is one, in a sandbox. Nothing
in it is secret, and nothing that it says is believed to be more than data.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from classroom.inside.outputs import Outputs, Stream
from classroom.sandbox.limits import Limits


class TookTooLong(BaseException):
    """A cell was interrupted; no ``except Exception`` catches this."""


class Untouched:
    """Functions and classes as they are before a submission runs, to be put back where it has replaced them."""

    def __init__(self) -> None:
        ours = ("companion.checks", "companion.norms", "classroom")
        ours = [module for name, module in sys.modules.items() if name.startswith(ours)]
        others = ("builtins", "json", "math", "numpy", "os", "signal", "torch", "torch.nn", "torch.nn.functional")
        torch = importlib.import_module("torch")
        self.owners = [*ours, *map(importlib.import_module, others), torch.Tensor, torch.nn.Module]
        self.kept = [{name: part for name, part in vars(owner).items() if callable(part)} for owner in self.owners]

    def put_back(self) -> None:
        """Undo replacements of functions and classes; deeper mischief harms nobody else."""
        for owner, kept in zip(self.owners, self.kept, strict=True):
            now = vars(owner)
            changed = [(name, part) for name, part in kept.items() if now.get(name) is not part]
            for name, part in changed:
                setattr(owner, name, part)
            if isinstance(owner, type):  # most of a tensor's methods are inherited: a new one hides the old
                for name in [name for name, part in now.items() if callable(part) and name not in kept]:
                    delattr(owner, name)


def main(about: dict[str, Any]) -> None:
    """Take a place within the limits, and do what the other end of the link says until it closes."""
    link, getpid, own = socket.socket(fileno=about["link"]), os.getpid, os.getpid()
    _settle(about)
    limits = Limits(**about["limits"])
    limits.install(about["processes_now"])

    outputs = Outputs(limits.output)
    said, warned = Stream("stdout", outputs), Stream("stderr", outputs)
    shell = _shell(outputs)
    from classroom.sandbox import messages as wire
    from companion import checks

    for module in pkgutil.iter_modules(checks.__path__, f"{checks.__name__}."):
        importlib.import_module(module.name)
    untouched, send, receive, leave = Untouched(), wire.send, wire.receive, os._exit
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    send(link, "ready")
    while True:
        try:
            request = receive(link)
        except wire.Closed:
            leave(0)
        outputs.cell = []
        reply: dict[str, Any] = {}
        try:
            with _alarm(request["seconds"]), redirect_stdout(said), redirect_stderr(warned):
                if "source" in request:
                    shell.run_cell(request["source"], store_history=True)
                else:
                    untouched.put_back()
                    reply["value"] = _observe(shell.user_ns, **request)
        except BaseException as error:
            reply["raised"] = _describe(error, request["seconds"])
        untouched.put_back()
        if getpid() != own:
            leave(0)  # a fork that a cell has left behind
        reply["outputs"] = outputs.cell
        try:
            send(link, reply)
        except wire.Closed:
            leave(0)
        except Exception as error:
            send(link, {"raised": _describe(error, 0), "outputs": []})


def _settle(about: dict[str, Any]) -> None:
    """Make a home, and become a user whose processes the kernel counts."""
    home = Path(about["home"]) / "home"
    (home / "matplotlib").mkdir(parents=True)
    os.environ |= {"HOME": str(home), "MPLCONFIGDIR": str(home / "matplotlib"), "IPYTHONDIR": str(home / "ipython")}
    if about["fonts"] and Path(about["fonts"]).exists():
        shutil.copy(about["fonts"], home / "matplotlib")
    if about["user"] is not None:
        for path in (home, home / "matplotlib"):
            os.chown(path, about["user"], about["user"])
        os.setgroups([])
        os.setgid(about["user"])
        os.setuid(about["user"])
    os.chdir(home)


def _shell(outputs: Outputs) -> Any:
    """IPython without a terminal, a kernel or a history."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        def publish(self, data: dict, metadata: dict | None = None, **more: Any) -> None:
            outputs.show("display_data", data)

    class Hook(DisplayHook):
        def __call__(self, result: Any = None) -> None:
            if result is not None and not self.quiet():
                data, _ = self.shell.display_formatter.format(result)
                self.shell.user_ns["_"] = result
                outputs.show("execute_result", data)

    class Shell(InteractiveShell):
        def _showtraceback(self, kind: type, error: BaseException, lines: list[str]) -> None:
            lines = [line[:5000] for line in lines[-20:]]
            outputs.error(kind.__name__[:100], str(error)[:1000], lines)

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Context"
    return Shell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)


def _observe(names: dict[str, Any], answer: str, function: str, arguments: list, seconds: float) -> Any:
    from companion.checks.observing import observe

    if answer not in names:
        raise NameError(f"name {answer!r} is not defined")
    module, _, name = function.partition(":")
    return observe(getattr(importlib.import_module(module), name), names[answer], *arguments)


def _describe(error: BaseException, seconds: float) -> list[str]:
    """The kind and the message of an error."""
    if isinstance(error, TookTooLong):
        return ["TimeoutError", f"it was stopped after {seconds:.0f} s"]
    if isinstance(error, NotImplementedError):
        return ["NotImplementedError", ""]
    try:
        return [type(error).__name__[:100], str(error)[:500]]
    except BaseException:
        return [type(error).__name__[:100], ""]


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer; one that pays no heed is killed from outside a little later."""

    def interrupt(*_: Any) -> None:
        raise TookTooLong(f"stopped after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
