"""A learner sees of a check its sentence, the line of their own code that raised, and nothing else."""

import builtins
import importlib.util
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from companion.checks.observing import AnswerError, RemoteAnswer, observe

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
SETS = sorted((ROOT / "notebooks" / "solutions").glob("*/*.ipynb"))
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
OURS = {line.strip() for path in (ROOT / "companion").rglob("*.py") for line in path.read_text("utf-8").splitlines()}
OURS.remove("Traceback (most recent call last):")  # a doctest has it
MARKS = re.compile(r"[\s~^]*")  # below a line, where Python points at a part of it
LEAST = 12  # so long is a line of ours that no learner would write as well


def answers(path):
    file = ROOT / "tests" / "checks" / "answers" / f"{path.stem}.py"
    spec = importlib.util.spec_from_file_location(f"shown_answers_{path.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def graded(path):
    cells = [
        cell for cell in nbformat.read(path, as_version=4).cells if cell.metadata.get("nbgrader", {}).get("points")
    ]
    return {cell.metadata.nbgrader.grade_id[:-5]: cell.source for cell in cells if cell.cell_type == "code"}


def stub(*arguments, **options):
    raise NotImplementedError()


def clumsy(*arguments, **options):
    return torch.zeros(2).reshape("of no use")


class Shell(InteractiveShell):
    """IPython that keeps what it would show of an error."""

    def _showtraceback(self, kind, error, lines):
        self.shown = kind.__name__, "\n".join(lines)


@pytest.fixture(scope="module")
def shell():
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    before = builtins.__dict__.copy()
    shell = Shell(config=config)
    yield shell
    for name in set(builtins.__dict__) - set(before):
        del builtins.__dict__[name]
    builtins.__dict__.update(before)


def in_ipython(shell, source, name, answer):
    """Return what a cell prints, and what IPython shows of its error."""
    shell.user_ns[name], shell.shown = answer, ("", "")
    with redirect_stdout(io.StringIO()) as printed:
        shell.run_cell(source)
    return printed.getvalue(), *shell.shown


def in_python(source, name, answer):
    """Return what Python prints of a script's error."""
    with redirect_stderr(io.StringIO()) as printed, redirect_stdout(io.StringIO()):
        try:
            exec(compile(source, "script.py", "exec"), {name: answer})
        except Exception as error:
            error.__traceback__ = error.__traceback__.tb_next  # without the line above
            sys.__excepthook__(type(error), error, error.__traceback__)
    return printed.getvalue()


def assert_it_shows_nothing_of_ours(text):
    lines = text.rstrip("\n").split("\n")
    assert len([line for line in lines if not MARKS.fullmatch(line)]) <= 6, text
    assert not {line.strip() for line in lines if len(line.strip()) >= LEAST} & OURS, text
    assert "companion/checks" not in text and "raise" not in [line.split()[0] for line in lines if line.split()], text


each_set = pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)


@each_set
def test_a_right_answer_gets_one_line_and_a_hidden_test_none(path, shell):
    for name, source in graded(path).items():
        for answer in answers(path).RIGHT[name]:
            printed, kind, _ = in_ipython(shell, source, name, answer)
            assert (kind, printed.count("\n")) == ("", 1), name
            assert re.fullmatch(r"\S+: right\. [^.].{20,110}\.\n", printed), printed
            for hidden in HIDDEN.findall(source):
                assert in_ipython(shell, f"{source.split(chr(10))[0]}\n{hidden}", name, answer)[:2] == ("", ""), name


@each_set
def test_a_wrong_answer_gets_its_sentence_and_nothing_of_the_check(path, shell):
    for name, source in graded(path).items():
        for answer, piece in answers(path).WRONG[name]:
            _, kind, text = in_ipython(shell, source, name, answer)
            assert kind == "AssertionError" and piece in text, (name, text)
            assert_it_shows_nothing_of_ours(text)
            assert "Traceback" not in text
            text = in_python(source, name, answer)
            assert piece in text, (name, text)
            assert_it_shows_nothing_of_ours(text)
            assert text.startswith('Traceback (most recent call last):\n  File "script.py", line ')


@each_set
def test_a_stub_is_unanswered_in_one_line(path, shell):
    for name, source in graded(path).items():
        printed, kind, text = in_ipython(shell, source, name, stub)
        assert (printed, kind, text) == ("", "NotImplementedError", "stub is not answered yet.")
        text = in_python(source, name, stub)
        assert text.endswith("\nNotImplementedError: stub is not answered yet.\n")
        assert_it_shows_nothing_of_ours(text)


@each_set
def test_an_answer_that_raises_is_shown_where_it_does(path, shell):
    for name, source in graded(path).items():
        for text in (in_ipython(shell, source, name, clumsy)[2], in_python(source, name, clumsy)):
            assert 'torch.zeros(2).reshape("of no use")' in text and "TypeError" in text, (name, text)
            assert f'File "{__file__}", line ' in text and "in clumsy" in text
            assert_it_shows_nothing_of_ours(text)


def test_an_answer_in_a_cell_is_shown_by_the_cell(shell, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shell.run_cell(
        "import torch\n\n\ndef double(x, eps):\n    y = 2 * x\n    return y.reshape('no')", store_history=True
    )
    source = "from companion.checks.batch_norm import check_standardize_batch\ncheck_standardize_batch(double)"
    lines = in_ipython(shell, source, "unused", None)[2].split("\n")
    assert re.fullmatch(r"  Cell In\[\d+\], line 6, in double", lines[0])
    assert lines[1] == "    return y.reshape('no')"
    assert lines[2].startswith("double raised TypeError: reshape()") and len(lines) == 3


@pytest.mark.slow
def test_plain_python_shows_the_same(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from companion.checks.batch_norm import check_standardize_batch\n\n\n"
        "def standardize_batch(x, eps):\n"
        "    scale = (x.var(0, correction=0) + eps).sqrt()\n"
        "    if sys.argv[1] == 'raises':\n"
        "        return x.cat(1)\n"
        "    return (x - x.mean(0)) / (scale if sys.argv[1] == 'right' else 1)\n\n\n"
        "check_standardize_batch(standardize_batch)\n"
    )

    def run(how):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, script, how], capture_output=True, text=True, env=environment)

    right, wrong, raises = map(run, ("right", "wrong", "raises"))
    assert (right.returncode, right.stderr, right.stdout.count("\n")) == (0, "", 1)
    *head, last = wrong.stderr.splitlines()
    assert last == "AssertionError: standardize_batch: The mean is subtracted, but nothing is divided."
    assert head[2:] == ["    check_standardize_batch(standardize_batch)"]
    assert "        return x.cat(1)" not in wrong.stderr and "return x.cat(1)" in raises.stderr
    assert_it_shows_nothing_of_ours(raises.stderr)


class Remote(RemoteAnswer):
    """An answer that a grader asks."""

    def __init__(self, answer):
        super().__init__("answer")
        self.answer = answer

    def observe(self, function, *arguments):
        try:
            return observe(function, self.answer, *arguments)
        except TypeError as error:
            raise AnswerError("TypeError", str(error)) from None


@each_set
def test_a_check_says_nothing_to_a_grader_but_by_its_error(path, capsys):
    for name, source in graded(path).items():
        exec(source, {name: Remote(answers(path).RIGHT[name][0])})
        with pytest.raises(AssertionError, match="answer raised TypeError|the layer raised TypeError"):
            exec(source, {name: Remote(clumsy)})
    assert capsys.readouterr() == ("", "")


def test_what_was_hidden_is_kept_for_who_looks_for_it():
    from companion.checks.batch_norm import check_standardize_batch

    with pytest.raises(AssertionError) as caught:
        check_standardize_batch(clumsy)
    assert isinstance(caught.value.answers_error, TypeError)
    frames, traceback = [], caught.value.whole_traceback
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "expect_call" in frames


def test_a_check_that_cannot_deal_with_an_answer_shows_nothing_of_itself_either(shell):
    source = (
        "from companion.checks.batch_norm import check_batch_norm\ncheck_batch_norm(torch.nn.BatchNorm1d, (1,) * 4)"
    )
    _, kind, text = in_ipython(shell, source, "torch", torch)
    assert (kind, text) == (
        "ValueError",
        "ValueError: positions must hold at most three sizes, but got positions=(1, 1, 1, 1)",
    )
