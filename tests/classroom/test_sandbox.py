"""The limits bite, and a submission reaches neither files nor network; of all it starts, nothing is left."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from classroom.grading.execute import Cell, run_notebook
from classroom.sandbox import isolation
from classroom.sandbox.isolation import MARK, SandboxError, find_isolation
from classroom.sandbox.limits import Limits
from classroom.sandbox.messages import BadMessage, decode, encode
from classroom.sandbox.process import GRACE

ROOT = Path(__file__).parents[2]
CHECK = "from companion.checks.batch_norm import check_standardize_batch\ncheck_standardize_batch({name})"
RIGHT = "def {name}(x, eps):\n    return (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt()"


@pytest.fixture(scope="module")
def limits():
    """Return limits that bite: torch just fits under this memory; a cell has the time that starting takes here.

    That is hundreds of times what an honest cell needs, however busy the machine is.
    """
    started = time.monotonic()
    run_notebook([Cell("1")], "none", Limits())
    seconds = max(4, math.ceil(time.monotonic() - started))
    return Limits(seconds, 30 * seconds, memory=2**29, processes=64, output=100_000, file_size=2**24)


@pytest.fixture(params=["isolated", "plain"])
def place(request, missing):
    if request.param == "plain":
        return "none"
    found = find_isolation()
    if found == "none":
        missing(f"no isolation: {isolation.isolation_error()}")
    return found


@pytest.fixture
def isolated(missing):
    found = find_isolation()
    if found == "none":
        missing(f"no isolation: {isolation.isolation_error()}")
    return found


@pytest.fixture(autouse=True)
def mark(monkeypatch):
    """Mark whatever a test starts; at the end nothing with the mark is left."""
    monkeypatch.setenv(MARK, f"test-{time.monotonic_ns()}-")
    yield
    assert running(os.environ[MARK]) == []


def running(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(mark) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            pass
    return found


def said(outputs):
    """Return all that a cell's outputs say, in one text."""
    return " ".join(str(output.get(key, "")) for output in outputs for key in ("text", "ename", "evalue", "data"))


def run(place, limits, *cells):
    """Run cells, written as text, or as (text, what it must say)."""
    pairs = [cell if isinstance(cell, tuple) else (cell, None) for cell in cells]
    results = run_notebook([Cell(source) for source, _ in pairs], place, limits)
    for (source, wanted), outputs in zip(pairs, results.outputs, strict=True):
        assert wanted is None or wanted in said(outputs), (source, said(outputs), results)
    return results


@pytest.mark.slow
def test_limits_bite_and_the_notebook_goes_on(place, limits):
    results = run(
        place,
        limits,
        ("import os, time, torch, subprocess, signal\nprint(2**0.5)\n[1, 2]", "1.414"),
        ("try:\n    while True: pass\nexcept Exception: pass", f"TookTooLong stopped after {limits.seconds} s"),
        # It stops by itself at twice the limit.
        ("x = []\nfor i in range(64): x.append(torch.ones(2**22))\nprint('had', len(x))", "memory"),
        ("print(len(x) < 32); del x", "True"),
        ("open('large', 'wb').write(bytes(2**25))", "File too large"),
        ("os.remove('large')"),
        ("for i in range(30): print('y' * 10_000)\n1 / 0", "ZeroDivisionError"),
        ("print('no room')", ""),
        ("raise ValueError('half: \\ud800')", "half: ?"),
        ("input()", "EOFError"),
    )
    assert results.stopped == [f"code cell 2: stopped after {limits.seconds} s"]  # not killed, nor the whole notebook
    assert sum(len(said(outputs)) for outputs in results.outputs) < 110_000


@pytest.mark.slow
def test_the_number_of_processes_is_limited_and_children_do_not_outlive_the_notebook(isolated, limits):
    run(
        isolated,
        limits,
        ("import subprocess\nfor i in range(50): subprocess.Popen(['sleep', '600'])\nprint('fifty')", "fifty"),
        ("for i in range(20): subprocess.Popen(['sleep', '600'])", "Resource temporarily unavailable"),
        ("print('alive')", "alive"),
    )


@pytest.mark.slow
def test_without_isolation_children_do_not_outlive_the_notebook_either(limits):
    start = "for i in range(20): subprocess.Popen(['sleep', '600'], start_new_session=True)"
    run("none", limits, (f"import subprocess\n{start}\nprint('twenty')", "twenty"))


@pytest.mark.slow
def test_neither_files_nor_network_nor_other_processes_can_be_reached(isolated, limits, tmp_path):
    (tmp_path / "secret").write_text("solution")
    solution = next((ROOT / "notebooks" / "solutions").glob("*/*.ipynb"))
    run(
        isolated,
        limits,
        (f"open({str(solution)!r})", "FileNotFoundError"),
        (f"open({str(tmp_path / 'secret')!r})", "FileNotFoundError"),
        # A virtual environment may lie in the project's folder, too: Python's own folders are shown.
        (f"import os\nprint(sorted(set(os.listdir({str(ROOT)!r})) - {{'.venv'}}))", "['classroom', 'companion']"),
        (f"open({str(ROOT / 'companion' / 'planted')!r}, 'w')", "OSError"),
        ("open('/planted', 'w')", "OSError"),
        ("open('/dev/planted', 'w')", "OSError"),
        ("print(os.listdir(os.path.expanduser('~')))", "matplotlib"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=2)", "Connection refused"),
        ("socket.create_connection(('192.0.2.1', 80), timeout=2)", "unreachable"),
        ("seen = os.listdir('/proc') if os.path.exists('/proc') else []", None),
        ("print('processes', sum(each.isdigit() for each in seen) < 5)", "processes True"),
        ("print('root' if 0 in (os.getuid(), os.geteuid()) else 'nobody')", "nobody"),
        ("print(sorted(set(os.environ) & {'COMPANION_CI', 'SSH_AUTH_SOCK', 'USER', 'PYTEST_CURRENT_TEST'}))", "[]"),
    )
    assert (tmp_path / "secret").read_text() == "solution"


@pytest.mark.slow
def test_a_private_folder_within_a_shown_one_is_hidden(isolated, limits, tmp_path, monkeypatch):
    inner = tmp_path / "shown" / "private"
    inner.mkdir(parents=True)
    (inner / "secret").write_text("solution")
    shown = [*isolation.python_folders(), tmp_path / "shown"]
    monkeypatch.setattr(isolation, "python_folders", lambda: shown)
    results = run_notebook([Cell(f"import os\nos.listdir({str(inner)!r})")], isolated, limits, [inner])
    assert "[]" in said(results.outputs[0])


@pytest.mark.slow
def test_a_cell_that_ends_the_process_costs_no_other_its_points(place, limits):
    tests = CHECK.format(name="standardize"), "standardize"
    cells = [
        Cell("import os, signal\nseen = []"),
        Cell("seen.append(1)\n" + RIGHT.format(name="standardize")),
        Cell("os._exit(0)"),
        Cell(*tests),
        Cell("signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"),
        Cell("standardize = lambda x, eps: os.kill(os.getpid(), 9)"),
        Cell(*tests),
        Cell("print(seen)"),
    ]
    results = run_notebook(cells, place, limits)
    assert "[1]" in said(results.outputs[-1])
    assert results.passed == {"standardize": False}
    assert results.errors == {"standardize": "its process was killed by SIGKILL"}
    assert results.outputs[3] == []  # the first test had passed
    assert results.stopped == [
        "code cell 3: it ended its process, with exit code 0",
        f"code cell 5: it was killed after {limits.seconds + GRACE:.0f} s, since it did not stop when told to",
        "code cell 7: its process was killed by SIGKILL",
    ]


@pytest.mark.slow
def test_a_notebook_that_goes_on_and_on_is_given_up(place, limits):
    seconds = limits.seconds
    limits = replace(limits, seconds=seconds / 4, seconds_in_all=seconds, memory=2**30, restarts=1)
    results = run(place, limits, "a = 1", *["while True: pass"] * 9)
    assert f"the notebook was stopped after {seconds} s in all" in results.stopped
    results = run(place, replace(limits, seconds_in_all=300), *["import os\nos._exit(1)"] * 4)
    assert results.stopped[-1] == "given up after it ended its process 2 times"


MISCHIEF = {
    "numpy and torch": "import numpy, torch\nnumpy.allclose = torch.allclose = torch.equal = lambda *a, **k: True\n"
    "torch.Tensor.__eq__ = lambda *a: True\ntorch.Tensor.max = lambda *a: torch.tensor(0.0)",
    "companion": "import companion\ncompanion.check_batch_norm = companion.compare_batch_norm = lambda *a, **k: None",
    "the checks": "from companion.checks import batch_norm, comparing, observing\ncomparing.TOLERANCE = 1e9\n"
    "for module in (batch_norm, comparing, observing):\n"
    "    for name in [name for name, part in vars(module).items() if callable(part) and name[:2] != '__']:\n"
    "        setattr(module, name, lambda *a, **k: True)\n"
    "assert observing.observe() and comparing.expect_call()",
    "builtins": "import builtins\nbuiltins.len = lambda x: 0\nbuiltins.isinstance = lambda *a: True\n"
    "builtins.print = None\nbuiltins.getattr = lambda *a: None",
    "json": "import json, os, signal\njson.dumps = lambda *a, **k: '{}'\njson.loads = lambda *a, **k: {'value': True}\n"
    "os.getpid = lambda: 1\nsignal.setitimer = signal.signal = lambda *a: None",
    "the messages": "import classroom.sandbox.messages as w\nw.send = w.encode = w._pack = lambda *a, **k: b''",
    "AssertionError": "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})",
    "the link": "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'x' * 5)\n    except OSError: pass",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MISCHIEF)
def test_mischief_gains_nothing_and_harms_no_right_answer(what, limits):
    cells = [
        Cell(RIGHT.format(name="right")),
        Cell(MISCHIEF[what]),
        Cell("wrong = lambda x, eps: x"),
        Cell(CHECK.format(name="wrong"), "wrong"),
        Cell(CHECK.format(name="right"), "right"),
    ]
    results = run_notebook(cells, "none", limits)
    assert {output["ename"] for output in results.outputs[1] if "ename" in output} <= {"Stopped"}  # it was done
    assert results.passed == {"wrong": False, "right": True}, results
    assert "wrong: " in results.errors["wrong"] or what == "the link"  # that spoils its own process


@pytest.mark.slow
def test_a_check_that_fails_by_itself_is_reported_and_says_nothing_of_what_it_expects(limits):
    test = "expected = 42\nassert isinstance(answer(1), int)\nraise RuntimeError(f'expected {expected}')"
    results = run_notebook([Cell("answer = lambda x: x"), Cell(test, "answer")], "none", limits)
    assert results.passed == {"answer": False}
    assert "42" not in said(results.outputs[1]) + results.errors["answer"]
    assert results.check_errors == ["answer: the check itself raised RuntimeError: expected 42"]


def test_isolation_that_is_required_and_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(isolation, "_working_options", lambda: ([], "bubblewrap (bwrap) is not installed"))
    with pytest.raises(SandboxError, match="cannot be isolated here: bubblewrap .* is not installed"):
        find_isolation("required")
    assert find_isolation("auto") == find_isolation("none") == "none"
    with pytest.raises(SandboxError, match="required, auto or none"):
        find_isolation("yes")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -0.5,
        float("inf"),
        "γ",
        [],
        {},
        {"a": [1, (2, None)], 3: {"b": "c"}},
        torch.zeros(0, 3),
        torch.tensor(3.0),
        torch.arange(6).reshape(2, 3),
        torch.tensor([True, False]),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor([1 + 2j]),
        torch.arange(12.0).reshape(4, 3).T,
    ],
    ids=str,
)
def test_plain_data_arrive_as_they_were(value):
    got = decode(encode(value))
    if isinstance(value, torch.Tensor):
        assert got.dtype == value.dtype and torch.equal(got, value)
    else:
        assert got == value and type(got) is type(value)


def test_an_argument_that_needs_a_gradient_still_does():
    assert decode(encode([torch.ones(2, requires_grad=True)]))[0].requires_grad


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"tensor": 1}',
        b'{"tensor": ["torch.float32", [-2], 0, 4, false]}',
        b'{"dict": [[{"list": []}, 1]]}',
        b'{"tensor": ["torch.float32", [9], 0, 4, false]}',
        b'{"tensor": ["torch.float64", [1000000000000], 0, 0, false]}',
        b'{"tensor": ["torch.int64", [1], 0, 8, true]}',
        b'{"eval": ["1"]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"{}",
    ],
)
def test_nonsense_is_a_bad_message(text):
    header = encode(None)[:0] + (len(text) + 8).to_bytes(8, "big") + len(text).to_bytes(8, "big")
    with pytest.raises(BadMessage):
        decode(header + text + bytes(8))
