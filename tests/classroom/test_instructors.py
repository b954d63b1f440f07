"""Everything in the guide for instructors can be done as it says."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from classroom.authoring.sets import set_names
from classroom.cli import _parser
from companion.checks import comparing as compare
from companion.checks.showing import check

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "pages" / "instructors.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    command
    for text in (GUIDE, README)
    for command in re.findall(r"(?:^|[`/ ])(companion (?:release|grade|workbook)[^`#\n]*)", text, re.M)
]


def block(word):
    """Return the guide's Python that holds a word."""
    (found,) = [text for text in re.findall(r"```python\n(.*?)```", GUIDE, re.S) if word in text]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    if command.strip() != "companion grade":  # where the text only names it
        assert _parser().parse_args(shlex.split(command)[1:]).command == command.split()[1]


def test_commands_are_found():
    assert any("--force" in command for command in COMMANDS) and any("--isolation" in command for command in COMMANDS)


def test_the_makefile_has_every_target_that_is_named():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", GUIDE + README, re.M))
    assert {"release", "exercises", "bench", "lab"} <= named <= targets


def test_both_course_plans_are_made_of_sets_and_the_seminar_has_them_all():
    plans = GUIDE.split("## Course plans")[1].split("\n## ")[0].split("**Ten weeks")
    short, seminar = (re.findall(r"exercises/(\w+)\.ipynb", plan) for plan in plans)
    assert sorted(seminar) == set_names()
    assert set(short) < set(seminar) and len(short) == len(set(short))
    chapters = [re.findall(r"\.\./notebooks/(\w+)\.ipynb", plan) for plan in plans]
    assert set(short) <= set(chapters[0]) and set(seminar) <= set(chapters[1])
    assert sorted(chapters[1]) == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.md"))


def write(path, *rows):
    """Write a CSV."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("platform", "files", "key", "ids"),
    [
        ("canvas", ["leeann_1234_99_set-1.ipynb", "roybob_LATE_77_98_set.ipynb"], "ID", ["1234", "77", "5"]),
        (
            "moodle",
            ["Ann Lee_1234_assignsubmission_file_/set.ipynb", "Bob_2 Roy_77_assignsubmission_file_/a.ipynb"],
            "Identifier",
            ["Participant 1234", "Participant 77", "Participant 5"],
        ),
    ],
)
def test_totals_go_into_a_platforms_table(platform, files, key, ids, tmp_path):
    graded, export, result = (tmp_path / name for name in ("graded.csv", "export.csv", "result.csv"))
    write(graded, ["student", "file", "total"], ["a", files[0], "10"], ["b", files[1], "7.5"], ["c", "odd.ipynb", "3"])
    write(export, ["Student", key, "Set 1"], ["Ann", ids[0], ""], ["Bob", ids[1], ""], ["Zoë", ids[2], "4"])
    names = {}
    exec(block("def fill_in("), names)
    names["fill_in"](platform, graded, export, "Set 1", result)
    with result.open(encoding="utf-8", newline="") as file:
        assert [line["Set 1"] for line in csv.DictReader(file)] == ["10", "7.5", "4"]


def test_the_model_check_names_the_mistake(capsys):
    names = {"expect_call": compare.expect_call, "check": check}
    exec(block("def check_double("), names)
    names["check_double"](lambda x: x + x)
    assert capsys.readouterr().out == "<lambda>: right. Twice 3 is 6.\n"
    with pytest.raises(AssertionError, match="Double it, do not square it"):
        names["check_double"](lambda x: x * x)


def test_the_hidden_test_that_is_suggested_runs():
    from companion.checks.batch_norm import check_backward

    with pytest.raises(NotImplementedError):
        exec(block("seed=2027"), {"check_backward": check_backward, "backward": unanswered})


def unanswered(*arguments):
    """Raise as a stub does."""
    raise NotImplementedError
