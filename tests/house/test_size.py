"""The house stays small: rooms, modules and functions, and the words that name and describe them."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("lines", ROOT / "book" / "tools" / "lines.py")
lines = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lines)

MODULES = sorted(path for package in lines.PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = sorted(
    path for folder in (*lines.PACKAGES, "book", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
)
CHECKS = ROOT / "companion" / "checks"  # a chapter's mistakes are data, and there are many

TOOLS = sorted((ROOT / "book").rglob("*.py"))

# The bar was set for hand-wrapped code. The formatter breaks what is over 120 columns one item a line, which made 3,002
# lines of the 2,625 there were; of those 3,002, 2,183 are left. Strict: turns red once it is met, and is to go then.
UNMET = pytest.mark.xfail(
    strict=True, reason="figures' JS is over its bar of 1,900 lines: `make lines` says by how much"
)

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.mark.parametrize(
    ("rooms", "suffix", "bar"),
    [
        (("companion/norms", "companion/probes", "companion/lab", "companion/show"), ".py", 2060),
        pytest.param(("companion/figures",), ".js", 1900, marks=UNMET),
        (("classroom",), ".py", 1550),
    ],
    ids=["what a learner reads", "figures' JS", "classroom"],
)
def test_rooms_are_small(rooms, suffix, bar):
    assert 0 < lines.total(*rooms, suffix=suffix) <= bar


@each_module
def test_a_module_has_at_most_200_lines_of_code_and_a_function_40(module):
    source = module.read_text(encoding="utf-8")
    long = [(name, number) for name, number in lines.functions(source) if number > 40]
    assert CHECKS in module.parents or (len(lines.python_lines(source)) <= 200 and long == [])


def test_code_is_laid_out_by_the_formatter():
    marks = [mark for path in SOURCES for mark in re.findall(r"fmt: (?:skip|off)", path.read_text(encoding="utf-8"))]
    assert len(marks) < 10


@each_module
def test_no_module_bears_the_name_of_what_its_room_hands_on_or_of_a_module_of_python(module):
    room = ast.parse((module.parent / "__init__.py").read_text(encoding="utf-8"))
    handed_on = {
        alias.asname or alias.name for node in room.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert module.stem not in handed_on | sys.stdlib_module_names


@pytest.mark.parametrize("module", [*MODULES, *TOOLS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_question(module):
    nodes = ast.walk(ast.parse(module.read_text(encoding="utf-8")))
    docstrings = [ast.get_docstring(node) for node in nodes if isinstance(node, ast.Module | lines.DEFINITIONS)]
    assert [text for text in docstrings if text and re.match("(What|Whether|Where|How)\\b", text)] == []


PYTHON = '''"""Module,
of two lines."""
# A comment.
import os  # beside code

TEXT = """
as data
"""


@decorated
def function(x):
    """One line."""

    # A comment.
    return (
        x
    )
'''


def test_lines_of_python_are_counted_without_comments_and_docstrings():
    assert sorted(lines.python_lines(PYTHON)) == [4, 6, 7, 8, 11, 12, 16, 17, 18]
    assert list(lines.functions(PYTHON)) == [("function", 5)]


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("let a = 1; // one\n\n// nothing\n/* nothing\n\n   more */\nlet b; /* end */\n", 2),
        ('const u = "https://a"; // b\nconst t = `\n/* text */`;\n', 3),
        (".a { /* c */\n  color: red;\n}\n/* end */", 3),
    ],
)
def test_lines_of_scripts_and_styles_are_counted_without_comments(source, number):
    assert lines.script_lines(source) == number
