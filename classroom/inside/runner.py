"""The process in which a submission runs: a notebook's cells without a kernel, and answers to what a grader asks.

It starts with ``python -m classroom.inside.runner``, within limits and, where there is one, in a sandbox. Nothing
in it is secret, and nothing that it says is believed to be more than data.
"""

import importlib
import io
import json
import os
import pkgutil
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from classroom.sandbox.limits import Limits


class TookTooLong(BaseException):
    """Interrupt of a cell that took too long; no ``except Exception`` catches it."""


def main(settings: dict[str, Any]) -> None:
    """Take a place within the limits, and serve requests until the other end of the link closes."""
    link = socket.socket(fileno=settings["link"])
    _settle(settings)
    limits = Limits(**settings["limits"])
    limits.install(settings["processes_now"])
    outputs = Outputs(limits.output)
    shell = _shell(outputs)
    originals = Originals()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _serve(link, shell, outputs, originals)


def _settle(settings: dict[str, Any]) -> None:
    """Make a home, and become a user whose processes the kernel counts."""
    home = Path(settings["home"]) / "home"
    (home / "matplotlib").mkdir(parents=True)
    os.environ |= {"HOME": str(home), "MPLCONFIGDIR": str(home / "matplotlib"), "IPYTHONDIR": str(home / "ipython")}
    if settings["fonts"] and Path(settings["fonts"]).exists():
        shutil.copy(settings["fonts"], home / "matplotlib")
    if (user := settings["user"]) is not None:
        for path in (home, home / "matplotlib"):
            os.chown(path, user, user)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.chdir(home)


class Outputs:
    """Everything that a cell prints and draws, in nbformat's words, up to a number of characters in all."""

    def __init__(self, room: int) -> None:
        self.room, self.cell = room, []
        self.stdout, self.stderr = Stream("stdout", self), Stream("stderr", self)

    def add(self, output: dict[str, Any], size: int) -> None:
        """Keep an output if there is room."""
        if self.room < 0:
            return
        self.room -= size
        if self.room < 0:
            output = {"output_type": "stream", "name": "stderr", "text": "[The rest of the output was cut.]\n"}
        self.cell.append(output)

    def stream(self, name: str, text: str) -> None:
        """Keep a piece of text."""
        text = str(text)[: max(self.room, 0) + 1]
        last = self.cell[-1] if self.cell else {}
        if last.get("name") == name and len(text) <= self.room and len(last["text"]) < 10_000:
            self.room -= len(text)
            last["text"] += text
        elif text:
            self.add({"output_type": "stream", "name": name, "text": text}, len(text) + 20)

    def error(self, kind: str, message: str, lines: list[str]) -> None:
        """Keep an error, in one line where there is no more room: it says why a test fails."""
        output = {"output_type": "error", "ename": kind, "evalue": message, "traceback": lines}
        if sum(map(len, lines)) < self.room:
            self.add(output, sum(map(len, lines)))
        else:
            self.cell.append(output | {"traceback": [f"{kind}: {message[:200]}"]})

    def show(self, kind: str, data: dict[str, Any]) -> None:
        """Keep a value or a picture."""
        data = {key: text for key, text in data.items() if key in ("text/plain", "image/png") and isinstance(text, str)}
        self.add({"output_type": kind, "data": data, "metadata": {}}, sum(map(len, data.values())) + 100)


class Stream(io.TextIOBase):
    """Standard output or standard error of a cell."""

    encoding = "utf-8"

    def __init__(self, name: str, outputs: Outputs) -> None:
        self.name, self.outputs = name, outputs

    def writable(self) -> bool:
        """Return True: it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Keep a text."""
        self.outputs.stream(self.name, text)
        return len(text)


def _shell(outputs: Outputs) -> Any:
    """Return IPython without a terminal, a kernel or a history."""
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
            outputs.error(kind.__name__[:100], str(error)[:1000], [line[:5000] for line in lines[-20:]])

    errors = {"colors": "nocolor", "xmode": "Context"}
    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": errors})
    return Shell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)


class Originals:
    """Functions and classes as they are before a submission runs, to be put back where it has replaced them."""

    def __init__(self) -> None:
        from classroom.sandbox import messages  # noqa: F401 (loaded, so that it is among ours)
        from companion.checks import observing

        checks = observing.__package__  # each of its modules may be asked for, and is loaded before a submission runs
        for module in pkgutil.iter_modules(sys.modules[checks].__path__, f"{checks}."):
            importlib.import_module(module.name)
        ours = [module for name, module in sys.modules.items() if name.split(".")[0] in ("companion", "classroom")]
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


def _serve(link: socket.socket, shell: Any, outputs: Outputs, originals: Originals) -> None:
    """Reply to requests; what is called here was looked up before the submission could replace it."""
    from classroom.sandbox.messages import Closed, receive, send

    getpid, leave, own = os.getpid, os._exit, os.getpid()
    send(link, "ready")
    try:
        while True:
            reply = _reply(receive(link), shell, outputs, originals)
            if getpid() != own:
                leave(0)  # a fork that a cell has left behind
            try:
                send(link, reply)
            except Exception as error:  # such as a value that is no plain data
                send(link, {"raised": _describe(error, 0), "outputs": []})
    except Closed:
        leave(0)


def _reply(request: dict[str, Any], shell: Any, outputs: Outputs, originals: Originals) -> dict[str, Any]:
    """Run a cell, or observe an answer; return the outputs, and the value or the error."""
    outputs.cell, reply = [], {}
    try:
        with _alarm(request["seconds"]), redirect_stdout(outputs.stdout), redirect_stderr(outputs.stderr):
            if "source" in request:
                shell.run_cell(request["source"], store_history=True)
            else:
                originals.put_back()
                reply["value"] = _observe(shell.user_ns, **request)
    except BaseException as error:
        reply["raised"] = _describe(error, request["seconds"])
    originals.put_back()
    return reply | {"outputs": outputs.cell}


def _observe(names: dict[str, Any], answer: str, function: str, arguments: list, seconds: float) -> Any:
    from companion.checks.observing import observe

    if answer not in names:
        raise NameError(f"name {answer!r} is not defined")
    module, _, name = function.partition(":")
    return observe(getattr(importlib.import_module(module), name), names[answer], *arguments)


def _describe(error: BaseException, seconds: float) -> list[str]:
    """Return the kind and the message of an error."""
    if isinstance(error, TookTooLong):
        return ["TimeoutError", f"it was stopped after {seconds:.0f} s"]
    if isinstance(error, NotImplementedError):
        return ["NotImplementedError", ""]
    try:
        return [type(error).__name__[:100], str(error)[:500]]
    except BaseException:
        return [type(error).__name__[:100], ""]


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt a cell that takes longer; if it goes on, it is killed from outside a little later."""

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
