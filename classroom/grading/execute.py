"""Run one submission: its cells in a sandbox, the tests here, where the submission is only ever asked for data.

The tests, and what they expect, never leave this process, which never imports or runs what a student wrote.
"""

import binascii
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classroom.sandbox.limits import Limits
from classroom.sandbox.process import ProcessDied, Session
from companion.checks.observing import AnswerError, RemoteAnswer


@dataclass
class Cell:
    """A code cell: the student's source, or the name of the answer that a test cell of ours asks for."""

    source: str
    tests: str = ""


@dataclass
class Results:
    """Results of running a submission."""

    outputs: list[list[dict[str, Any]]]  # of each cell, in nbformat's words
    passed: dict[str, bool] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # why a test failed, without a word of the test
    stopped: list[str] = field(default_factory=list)  # cells that had to be stopped
    check_errors: list[str] = field(default_factory=list)  # checks that failed by themselves: for the instructor

    def fail(self, test: str, error: str) -> None:
        """Note that a test failed, and why."""
        self.passed[test], self.errors[test] = False, error


def run_notebook(cells: Sequence[Cell], isolation: str, limits: Limits, private: Sequence[Path] = ()) -> Results:
    """Run a submission and its tests, in the order of the cells.

    A cell that ends the process, or has to be killed, is left out when the others are run once more, so that it
    costs no other task its points.
    """
    results = Results([[] for _ in cells])
    finished: list[str] = []  # to be run again after a restart
    with contextlib.closing(Session(isolation, limits, private)) as session:
        for index, cell in enumerate(cells):
            try:
                session.start(finished)
                if cell.tests:
                    results.outputs[index] = _test(cell, session, results)
                else:
                    results.outputs[index] = outputs = _run(cell, session)
                    if any(each.get("ename") in ("TookTooLong", "TimeoutError") for each in outputs):
                        results.stopped.append(f"code cell {index + 1}: stopped after {limits.seconds:.0f} s")
                    finished.append(cell.source)
            except ProcessDied as died:
                stopped = session.error or f"code cell {index + 1}: {died}"
                if stopped not in results.stopped:
                    results.stopped.append(stopped)
                results.outputs[index] = [error_output("Stopped", str(died))]
                if cell.tests:
                    results.fail(cell.tests, str(died))
    return results


class AnswerInSession(RemoteAnswer):
    """An answer in a sandbox."""

    def __init__(self, name: str, session: Session) -> None:
        super().__init__(name)
        self._session, self._end = session, time.monotonic() + session.limits.seconds

    def observe(self, function: Callable, *arguments: Any) -> Any:
        """Return what ``function(answer, *arguments)`` gives in the sandbox (see :meth:`RemoteAnswer.observe`)."""
        place = f"{function.__module__}:{function.__qualname__}"
        left = max(self._end - time.monotonic(), 0.1)
        reply = self._session.ask({"answer": self.__name__, "function": place, "arguments": list(arguments)}, left)
        if "raised" not in reply:
            return reply.get("value")
        kind, message = _two_texts(reply["raised"])
        if kind == "NotImplementedError":
            raise NotImplementedError
        raise AnswerError(kind, message)


def _run(cell: Cell, session: Session) -> list[dict[str, Any]]:
    """Run a cell of the student's, and return its outputs."""
    reply = session.ask({"source": cell.source})
    outputs = _outputs(reply, session.limits.output)
    if "raised" in reply:  # in what IPython does around the cell
        outputs.append(error_output(*_two_texts(reply["raised"])))
    return outputs


def _test(cell: Cell, session: Session, results: Results) -> list[dict[str, Any]]:
    """Run a test, note whether it passed, and return the outputs: an error, if it did not."""
    name = cell.tests
    try:
        exec(compile(cell.source, f"test of {name}", "exec"), {name: AnswerInSession(name, session)})
    except NotImplementedError:
        kind, error = "NotImplementedError", "not answered yet"
    except AssertionError as failure:
        kind, error = "AssertionError", _text(failure)[:1000]
    except AnswerError as failure:
        kind, error = failure.kind, str(failure)
    except Exception as failure:  # its message may speak of what is expected
        kind, error = "CheckFailed", "the check cannot deal with this answer; your instructor will look at it"
        results.check_errors.append(_text(f"{name}: the check itself raised {type(failure).__name__}: {failure}"))
    else:
        results.passed[name] = True
        return []
    results.fail(name, error if kind in ("AssertionError", "CheckFailed") else f"{kind}: {error}")
    return [error_output(kind, error)]


def error_output(kind: str, message: str) -> dict[str, Any]:
    """Return an error as nbformat has it among a cell's outputs."""
    return {"output_type": "error", "ename": kind, "evalue": message, "traceback": [f"{kind}: {message}"]}


def _outputs(reply: Mapping[str, Any], room: int) -> list[dict[str, Any]]:
    """Return the outputs in a reply as nbformat has them, whatever it holds."""
    found, size = [], 0
    for output in reply["outputs"] if isinstance(reply.get("outputs"), list) else []:
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            made = _output(output)
            size += len(str(made))
            if size < 2 * room + 10_000:  # more than it lets itself have: it has been tampered with
                found.append(made)
    return found


def _output(output: Mapping[str, Any]) -> dict[str, Any]:
    kind = output["output_type"]
    if kind == "stream":
        name = "stderr" if output["name"] == "stderr" else "stdout"
        return {"output_type": kind, "name": name, "text": _text(output["text"])}
    if kind == "error":
        lines = [_text(line) for line in output["traceback"]]
        return error_output(_text(output["ename"]), _text(output["evalue"])) | {"traceback": lines}
    data = {key: _text(output["data"][key]) for key in ("text/plain", "image/png") if key in output["data"]}
    if "image/png" in data:
        data["image/png"] = binascii.b2a_base64(binascii.a2b_base64(data["image/png"])).decode()
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _two_texts(value: Any) -> tuple[str, str]:
    kind, message = (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else ("Error", "")
    return _text(kind)[:100], _text(message)[:500]


def _text(value: Any) -> str:
    """Return a text that can be written to a file: half of a surrogate pair cannot."""
    return str(value).encode("utf-8", "replace").decode()
