"""Every exercise set: right answers of several kinds pass, and each typical mistake is named."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
SETS = sorted((ROOT / "notebooks" / "solutions").glob("*/*.ipynb"))
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)


def cells(path):
    """Return the set's cells that nbgrader knows, by their names."""
    found = [cell for cell in nbformat.read(path, as_version=4).cells if "nbgrader" in cell.metadata]
    names = [cell.metadata.nbgrader.grade_id for cell in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def tasks(path):
    """Return the automatically graded tasks: the answer's name, and the text of the cell that tests it."""
    return {name.removesuffix("-test"): cell.source for name, cell in cells(path).items() if name.endswith("-test")}


def answers(path):
    """Return the module in tests/checks/answers that belongs to a set."""
    file = ROOT / "tests" / "checks" / "answers" / f"{path.stem}.py"
    spec = importlib.util.spec_from_file_location(f"answers_{path.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grade(source, name, answer):
    """Run a test cell on an answer; as in grading, it finds nothing else there."""
    exec(source, {name: answer})


each_set = pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)


@each_set
def test_a_set_has_three_to_five_tasks_of_rising_difficulty_and_one_to_explain(path):
    found = cells(path)
    graded = {name: cell.metadata.nbgrader.points for name, cell in found.items() if cell.metadata.nbgrader.grade}
    assert 3 <= len(graded) <= 5
    manual = [name for name in graded if not name.endswith("-test")]
    assert manual and all(found[name].cell_type == "markdown" for name in manual)
    points = [points for name, points in graded.items() if name.endswith("-test")]
    assert points == sorted(points) and min(points) >= 1
    for name in tasks(path):
        solution = found[name].metadata.nbgrader
        assert solution.solution and not solution.grade and not solution.locked
        assert "### BEGIN SOLUTION" in found[name].source
        assert found[f"{name}-test"].metadata.nbgrader.locked


@each_set
def test_every_right_answer_passes(path):
    for name, source in tasks(path).items():
        right = answers(path).RIGHT[name]
        assert len(right) >= 2, name
        for index, answer in enumerate(right):
            try:
                grade(source, name, answer)
            except Exception as error:
                raise AssertionError(f"{name}: right answer {index} was refused") from error


@each_set
def test_every_wrong_answer_fails_with_a_sentence_of_its_own(path):
    for name, source in tasks(path).items():
        said = []
        for answer, piece in answers(path).WRONG[name]:
            with pytest.raises(AssertionError) as caught:
                grade(source, name, answer)
            assert piece in str(caught.value), (name, str(caught.value))
            said.append(str(caught.value))
        assert len(said) >= 3 and len(set(said)) == len(said), name


@each_set
def test_hidden_tests_look_elsewhere(path):
    hidden = {name: HIDDEN.search(source) for name, source in tasks(path).items()}
    assert any(hidden.values())
    for name, source in tasks(path).items():
        if hidden[name]:
            shown = HIDDEN.sub("", source)
            assert not set(hidden[name][0].splitlines()[1:-1]) & set(shown.splitlines()), name


@each_set
def test_tasks_have_hints_and_say_their_points(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    assert text.count("<details><summary>Hint") >= 2
    points = [int(number) for number in re.findall(r"^\*(\d) points?[.,]", text, re.M)]
    assert points == [cell.metadata.nbgrader.points for cell in cells(path).values() if cell.metadata.nbgrader.grade]
