"""The part of a check that a learner sees: a line if the answer is right, else its mistake and nothing of the check."""

import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any

from companion.checks.comparing import name_of
from companion.checks.observing import RemoteAnswer

# No learner's code lives there.
_OURS = str(Path(__file__).parents[1]) + os.sep
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def check(right: str, also: Sequence[Mapping[str, Any]] = ()) -> Callable:
    """Make a check of a function that raises an AssertionError with a sentence for a wrong answer.

    The check shows that sentence, and the line of the learner's own code that raised an error, in IPython as in plain
    Python; its own lines, which know what is right, stay out of the traceback. For an answer that is right it prints a
    line, but only where it is called with the answer alone: with cases of its own it is a hidden test, and silent.

    Args:
        right: A sentence on what is known once the answer is right in the cases that are checked by default.
        also: More cases, as keyword arguments, in which an answer is checked that comes alone. In one case only, an
            argument may be kept at its value or left out, and nobody notices.

    Example:
        >>> @check(right="Twice 3 is 6.", also=[{"number": -1.5}])
        ... def check_double(answer, number=3):
        ...     assert answer(number) == 2 * number, f"{answer.__name__}: Double it, do not square it."
        >>> def double(x):
        ...     return 2 * x
        >>> check_double(double)
        double: right. Twice 3 is 6.
        >>> check_double(double, number=5)
    """

    def decorate(compare: Callable[..., None]) -> Callable[..., None]:
        @wraps(compare)
        def checked(answer: Any, *cases: Any, **more_cases: Any) -> None:
            given = bool(cases or more_cases)
            try:
                for case in [more_cases] if given else [{}, *also]:
                    compare(answer, *cases, **case)
            except Exception as error:
                _show_only_the_mistake(error, name_of(answer))
                raise  # this alone adds no line of ours to the traceback; `raise error` would
            if not (given or isinstance(answer, RemoteAnswer)):
                print(f"{name_of(answer)}: right. {right}")

        return checked

    return decorate


def _show_only_the_mistake(error: Exception, name: str) -> None:
    """Leave in an error's traceback the line of the learner's code that raised; the rest goes into attributes."""
    error.answers_error, error.whole_traceback = error.__cause__, error.__traceback__
    line = _learners_line((error.__cause__ or error).__traceback__)
    if isinstance(error, NotImplementedError):
        reason, line = " ".join(str(error).split()), None
        error.args = (f"{name} is not answered yet{': ' + reason if reason else '.'}",)
    error.__cause__ = error.__context__ = None
    error.__traceback__ = line
    kind = "" if isinstance(error, AssertionError | NotImplementedError) else f"{type(error).__name__}: "
    shown = [*_two_lines(line), *f"{kind}{error}".splitlines()]
    error._render_traceback_ = lambda: shown  # IPython asks for it, and so do the notebooks that stand on it


def _learners_line(traceback: TracebackType | None) -> TracebackType | None:
    """Return the last place in a traceback that is neither ours nor a library's."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((_OURS, *_LIBRARIES, "<frozen", "<__array")):
            found = TracebackType(None, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _two_lines(traceback: TracebackType | None) -> list[str]:
    """Return the place and the source of a line, as Python shows it, but by the cell's number in IPython."""
    if traceback is None:
        return []
    code, number = traceback.tb_frame.f_code, traceback.tb_lineno
    place = f'File "{code.co_filename}"'
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    named = getattr(getattr(shell, "compile", None), "format_code_name", lambda file: None)(code.co_filename)
    if named:  # a cell
        place = " ".join(named)
    return [
        f"  {place}, line {number}, in {code.co_name}",
        f"    {linecache.getline(code.co_filename, number).strip()}",
    ]
