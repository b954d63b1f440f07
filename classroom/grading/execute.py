"""Runs one submission: its cells in a sandbox, the tests here, where the submission is only ever asked for data.

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
from classroom.sandbox.session import Died, Run
from companion.checks.observing import AnswerError, RemoteAnswer


@dataclass
class Cell:
    """A code cell: the student's source, or the name of the answer that a test cell of ours asks for."""

    source: str
    tests: str = ""


@dataclass
class Verdict:
    """What running a submission gave."""

    outputs: list[list[dict[str, Any]]]  # of each cell, in nbformat's words
    passed: dict[str, bool] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # why a test failed, without a word of the test
    trouble: list[str] = field(default_factory=list)  # what had to be stopped
    doubt: list[str] = field(default_factory=list)  # a check that failed by itself: for the instructor


def judge(cells: Sequence[Cell], isolation: str, limits: Limits, private: Sequence[Path] = ()) -> Verdict:
    """Run a submission and its tests, in the order of the cells.

    A cell that ends the process, or has to be killed, is left out when the others are run once more, so that it
    costs no other task its points.
    """
    verdict = Verdict([[] for _ in cells])
    run = Run(isolation, limits, private)
    done: list[str] = []  # to be run again after a restart
    try:
        for number, cell in enumerate(cells):
            try:
                run.start(done)
                if cell.tests:
                    verdict.outputs[number] = _test(cell, run, verdict)
                else:
                    reply = run.ask({"source": cell.source})
                    verdict.outputs[number] = _outputs(reply, limits.output)
                    if "raised" in reply:  # in what IPython does around the cell
                        verdict.outputs[number].append(_error(*_two_texts(reply["raised"])))
                    if any(each.get("ename") in ("TookTooLong", "TimeoutError") for each in verdict.outputs[number]):
                        verdict.trouble.append(f"code cell {number + 1}: stopped after {limits.seconds:.0f} s")
                    done.append(cell.source)
            except Died as died:
                why = f"code cell {number + 1}: {died}" if not run.over else str(died)
                if why not in verdict.trouble:
                    verdict.trouble.append(why)
                verdict.outputs[number] = [_error("Stopped", str(died))]
                if cell.tests:
                    verdict.passed[cell.tests], verdict.said[cell.tests] = False, str(died)
    finally:
        run.stop()
    return verdict


class Remote(RemoteAnswer):
    """An answer in a sandbox."""

    def __init__(self, name: str, run: Run) -> None:
        super().__init__(name)
        self._run, self._end = run, time.monotonic() + run.limits.seconds

    def observe(self, function: Callable, *arguments: Any) -> Any:
        """See :meth:`RemoteAnswer.observe`."""
        place = f"{function.__module__}:{function.__qualname__}"
        left = max(self._end - time.monotonic(), 0.1)
        reply = self._run.ask({"answer": self.__name__, "function": place, "arguments": list(arguments)}, left)
        if "raised" not in reply:
            return reply.get("value")
        kind, message = _two_texts(reply["raised"])
        if kind == "NotImplementedError":
            raise NotImplementedError
        raise AnswerError(kind, message)


def _test(cell: Cell, run: Run, verdict: Verdict) -> list[dict[str, Any]]:
    name = cell.tests
    verdict.passed[name] = False
    try:
        exec(compile(cell.source, f"test of {name}", "exec"), {name: Remote(name, run)})
    except NotImplementedError:
        kind, said = "NotImplementedError", "not answered yet"
    except AssertionError as error:
        kind, said = "AssertionError", _text(error)[:1000]
    except AnswerError as error:
        kind, said = error.kind, str(error)
    except Exception as error:  # its message may speak of what is expected
        kind, said = "CheckFailed", "the check cannot deal with this answer; your instructor will look at it"
        verdict.doubt.append(_text(f"{name}: the check itself raised {type(error).__name__}: {error}"))
    else:
        verdict.passed[name] = True
        return []
    verdict.said[name] = f"{kind}: {said}" if kind not in ("AssertionError", "CheckFailed") else said
    return [_error(kind, said)]


def _error(kind: str, said: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": kind, "evalue": said, "traceback": [f"{kind}: {said}"]}


def _outputs(reply: Mapping[str, Any], room: int) -> list[dict[str, Any]]:
    """The outputs in a reply as nbformat has them, whatever it holds."""
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
        return _error(_text(output["ename"]), _text(output["evalue"])) | {"traceback": lines}
    data = {key: _text(output["data"][key]) for key in ("text/plain", "image/png") if key in output["data"]}
    if "image/png" in data:
        data["image/png"] = binascii.b2a_base64(binascii.a2b_base64(data["image/png"])).decode()
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _two_texts(value: Any) -> tuple[str, str]:
    kind, message = (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else ("Error", "")
    return _text(kind)[:100], _text(message)[:500]


def _text(value: Any) -> str:
    """A text that can be written to a file: half of a surrogate pair cannot."""
    return str(value).encode("utf-8", "replace").decode()
