"""Whatever a student did to the cells of a set, each task's test runs once, behind its answer, and no text is lost."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from classroom.intake.repair import repair_notebook
from classroom.intake.submissions import Unreadable, collect, read_submission, student_id

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "notebooks" / "exercises" / "01_batch_norm.ipynb"
ANSWER = "def standardize_batch(x, eps=1e-5):\n    return x - x.mean(0)"
WRITTEN = "Batch norm takes its statistics from the batch."


@pytest.fixture
def released():
    return nbformat.read(RELEASED, as_version=4)


@pytest.fixture
def work(released):
    """Return a submission: the first task and the written one are answered."""
    work = nbformat.from_dict(released)
    cell(work, "standardize_batch").source = ANSWER
    cell(work, "explain").source = WRITTEN
    return work


def name(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def place(notebook, wanted):
    (found,) = [index for index, cell in enumerate(notebook.cells) if name(cell) == wanted]
    return found


def cell(notebook, wanted):
    return notebook.cells[place(notebook, wanted)]


def names(notebook):
    return [name(cell) for cell in notebook.cells if name(cell)]


def strip(notebook, *wanted, ids=False):
    """Take away nbgrader's metadata, of all cells or of those with these names, and the ids."""
    for index, cell in enumerate(notebook.cells):
        if not wanted or name(cell) in wanted:
            cell.metadata = nbformat.from_dict({})
            cell.id = f"new-{index}" if ids else cell.id


def mended(work, released, *remarks):
    """Repair, and expect exactly these remarks, and every graded cell once, tests behind their answers."""
    submitted = nbformat.from_dict(work)
    for cell in submitted.cells:  # what read_submission leaves of a cell
        cell.metadata = nbformat.from_dict({"nbgrader": {"grade_id": name(cell)}} if name(cell) else {})
    notebook, said = repair_notebook(submitted, released)
    nbformat.validate(notebook)
    assert sorted(names(notebook)) == sorted(names(released))
    for wanted in names(released):
        if wanted.endswith("-test"):
            assert place(notebook, wanted) > place(notebook, wanted.removesuffix("-test"))
            assert cell_of(notebook, wanted).source == cell_of(released, wanted).source
        assert cell_of(notebook, wanted).metadata.nbgrader == cell_of(released, wanted).metadata.nbgrader
        assert cell_of(notebook, wanted).cell_type == cell_of(released, wanted).cell_type
    assert len(said) == len(remarks), said
    for text, piece in zip(said, remarks, strict=True):
        assert piece in text
    return notebook


cell_of = cell


def test_an_untouched_and_an_answered_notebook_stay_as_they_are(work, released):
    for notebook in (released, work):
        same = mended(notebook, released)
        assert [cell.source for cell in same.cells] == [cell.source for cell in notebook.cells]
        assert [cell.id for cell in same.cells] == [cell.id for cell in notebook.cells]


def test_own_cells_and_outputs(work, released):
    work.cells.insert(3, nbformat.v4.new_code_cell("print(1)", outputs=[nbformat.v4.new_output("stream", text="1")]))
    notebook = mended(work, released)
    assert notebook.cells[3].source == "print(1)" and notebook.cells[3].outputs == []


@pytest.mark.parametrize("gone", ["standardize_batch-test", "Repaired-test"])
def test_a_deleted_test_comes_back_behind_its_answer(gone, work, released):
    before = place(work, gone)
    del work.cells[before]
    assert place(mended(work, released, f"{gone} was missing"), gone) == before


def test_all_deleted_tests_come_back_and_no_later_definition_is_cut_off(work, released):
    work.cells = [cell for cell in work.cells if not name(cell).endswith("-test")]
    work.cells.append(nbformat.v4.new_code_cell("def backward(*a):\n    return 1"))
    notebook = mended(work, released, "stands in another cell", *["was missing; it is put back."] * 4)
    assert notebook.cells[place(notebook, "backward")].source.endswith("return 1")


def test_deleted_answers_come_back_empty(work, released):
    for gone in ("backward", "explain"):
        del work.cells[place(work, gone)]
    notebook = mended(work, released, "backward was missing", "explain was missing")
    assert "NotImplementedError" in cell(notebook, "backward").source
    assert cell(notebook, "explain").source == cell(released, "explain").source
    assert place(notebook, "batches_until-test") < place(notebook, "backward") < place(notebook, "backward-test")


def test_nothing_but_one_answer(work, released):
    work.cells = [cell(work, "standardize_batch")]
    notebook = mended(work, released, *["missing"] * 10)
    assert cell(notebook, "standardize_batch").source == ANSWER


def test_an_empty_notebook(work, released):
    work.cells = []
    assert names(mended(work, released, *["missing"] * 11)) == names(released)


def given(notebook):
    """Return the code cells that were handed out beside the tasks: imports, and a bug hunt's suspect."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and not name(cell)]


def test_given_code_that_was_deleted_is_put_back_where_it_stood(work, released):
    imports, suspect = given(released)
    work.cells = [cell for cell in work.cells if cell.source not in (imports, suspect)]
    notebook = mended(work, released, "was given was missing", "was given was missing")
    assert given(notebook) == [imports, suspect]
    order = [cell.source for cell in notebook.cells]
    assert order.index(imports) < order.index(ANSWER)
    assert place(notebook, "backward-test") < order.index(suspect) < place(notebook, "Repaired")


def test_given_code_that_was_edited_stays_as_it_is(work, released):
    for index, cell in enumerate(work.cells):
        if cell.cell_type == "code" and not name(cell):
            cell.source += "\nimport numpy"
            cell.id = f"new-{index}" if "class Suspect" in cell.source else cell.id
    assert given(mended(work, released)) == [f"{source}\nimport numpy" for source in given(released)]


def test_an_edited_test_runs_as_it_was_handed_out(work, released):
    cell(work, "backward-test").source = "pass"
    mended(work, released, "backward-test was edited")


def test_spaces_at_the_end_of_lines_are_no_edit(work, released):
    cell(work, "backward-test").source += "  \n"
    mended(work, released)


def test_an_answer_written_into_the_tests_cell_counts(work, released):
    test = cell(work, "batches_until-test")
    test.source = "def batches_until(momentum, within):\n    return 3\n" + test.source
    notebook = mended(work, released, "batches_until-test was edited", "stands in another cell")
    assert "return 3" in cell(notebook, "batches_until").source


@pytest.mark.parametrize("wanted", ["standardize_batch", "standardize_batch-test", "explain"])
def test_a_copied_cell_is_there_once(wanted, work, released):
    at = place(work, wanted)
    work.cells.insert(at + 1, nbformat.from_dict(work.cells[at]))
    said = [] if wanted == "explain" else [f"{wanted} was there 2 times"]
    mended(work, released, *said or ["The answer explain was there 2 times"])


def test_the_last_answer_before_the_test_counts_and_others_stay(work, released):
    at = place(work, "standardize_batch")
    first, last = nbformat.from_dict(work.cells[at]), nbformat.from_dict(work.cells[at])
    first.source, last.source = "def standardize_batch(x):\n    return 1", "def standardize_batch(x):\n    return 3"
    work.cells.insert(at, first)
    work.cells.append(last)
    notebook = mended(work, released, "standardize_batch was there 3 times")
    assert cell(notebook, "standardize_batch").source == ANSWER
    assert notebook.cells[at].source == first.source and notebook.cells[-1].source == last.source
    assert place(notebook, "standardize_batch-test") < len(notebook.cells) - 1


def test_a_copy_without_an_answer_does_not_undo_the_answer(work, released):
    at = place(work, "standardize_batch")
    work.cells.insert(at + 1, nbformat.from_dict(released.cells[at]))
    notebook = mended(work, released, "standardize_batch was there 2 times")
    assert cell(notebook, "standardize_batch").source == ANSWER
    assert sum("standardize_batch(x" in cell.source for cell in notebook.cells if cell.cell_type == "code") == 1


def test_an_answer_in_a_cell_of_its_own(work, released):
    at = place(work, "standardize_batch")
    work.cells[at].source = cell(released, "standardize_batch").source
    work.cells.insert(at, nbformat.v4.new_code_cell("%time\n" + ANSWER))
    notebook = mended(work, released, "stands in another cell")
    assert cell(notebook, "standardize_batch").source == "%time\n" + ANSWER


def test_tests_before_their_answers_run_behind_them(work, released):
    work.cells.reverse()
    tests = [wanted for wanted in names(released) if wanted.endswith("-test")]
    notebook = mended(work, released, *[f"{wanted} stood before cells" for wanted in tests])
    assert all(place(notebook, wanted) > place(notebook, "standardize_batch") for wanted in tests)


def test_tasks_in_another_order_stay_in_it(work, released):
    first, second = place(work, "backward"), place(work, "Repaired")
    work.cells[first], work.cells[second] = work.cells[second], work.cells[first]
    notebook = mended(work, released, "backward-test stood before")
    assert place(notebook, "Repaired") == first


@pytest.mark.parametrize("ids", [False, True])
def test_without_metadata_cells_are_known_by_what_they_are(ids, work, released):
    strip(work, ids=ids)
    notebook = mended(work, released, "marks of the graded cells were gone", *["explain stood beside"] * ids)
    assert names(notebook) == names(released)
    assert cell(notebook, "standardize_batch").source == ANSWER
    assert cell(notebook, "explain").source == WRITTEN
    assert sum(WRITTEN in cell.source for cell in notebook.cells) == 1


def test_names_of_another_set_and_stray_metadata_go(work, released):
    work.cells[1].metadata["nbgrader"] = {"grade_id": "of another set"}
    assert names(mended(work, released)) == names(released)


@pytest.mark.parametrize("kind", ["code", "raw"])
def test_a_written_answer_in_a_cell_of_another_kind(kind, work, released):
    at = place(work, "explain")
    make = {"code": nbformat.v4.new_code_cell, "raw": nbformat.v4.new_raw_cell}[kind]
    work.cells[at] = make(WRITTEN, metadata=work.cells[at].metadata)
    assert cell(mended(work, released), "explain").source == WRITTEN


def test_code_in_a_cell_of_another_kind(work, released):
    at = place(work, "standardize_batch")
    work.cells[at] = nbformat.v4.new_markdown_cell(ANSWER, metadata=work.cells[at].metadata)
    assert cell(mended(work, released, "not a code cell any more"), "standardize_batch").source == ANSWER


@pytest.mark.parametrize("where", ["before", "behind", "instead", "in the task"])
def test_a_written_answer_beside_its_cell_is_not_lost(where, work, released):
    at = place(work, "explain")
    work.cells[at].source = cell(released, "explain").source
    if where == "instead":
        work.cells[at] = nbformat.v4.new_markdown_cell(WRITTEN)
    elif where == "in the task":
        work.cells[at - 1].source += f"\n\n{WRITTEN}"
    else:
        work.cells.insert(at + (where == "behind"), nbformat.v4.new_markdown_cell(WRITTEN))
    notebook = mended(work, released, "explain stood beside its cell")
    assert cell(notebook, "explain").source == WRITTEN


def test_two_written_answers_become_one(work, released):
    at = place(work, "explain")
    other = nbformat.from_dict(work.cells[at])
    other.source = "And more."
    work.cells.insert(at + 1, other)
    notebook = mended(work, released, "explain was there 2 times")
    assert cell(notebook, "explain").source == f"{WRITTEN}\n\nAnd more."


def test_repair_changes_neither_of_its_arguments(work, released):
    work.cells.reverse()
    before = nbformat.writes(work), nbformat.writes(released)
    repair_notebook(work, released)
    assert (nbformat.writes(work), nbformat.writes(released)) == before


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"<html>Log in</html>", "not JSON"),
        (b"\xff\xfe\x00garbage", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no cells"),
        (b'{"cells": 3}', "no cells"),
        (b'<<<<<<< HEAD\n{"cells": []}', "not JSON"),
        (b'{"worksheets": 3}', "old format"),
    ],
)
def test_a_file_that_is_no_notebook_has_a_named_reason(data, reason, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        read_submission(path)


def test_links_and_missing_files_are_not_read(tmp_path):
    (tmp_path / "link.ipynb").symlink_to(RELEASED)
    with pytest.raises(Unreadable, match="a link"):
        read_submission(tmp_path / "link.ipynb")
    with pytest.raises(Unreadable, match="cannot be read"):
        read_submission(tmp_path / "none.ipynb")


def test_damaged_notebooks_are_read_as_far_as_they_go(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = [{"cell_type": "code", "source": ["a\n", 1]}, 3, {"cell_type": "odd", "id": "a b"}]
    cells.append({"cell_type": "raw", "source": "\ud800", "metadata": [], "outputs": 3})
    path.write_text("\ufeff" + json.dumps({"cells": cells}), encoding="utf-8")
    notebook = read_submission(path)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        ("code", "a\n1"),
        ("markdown", ""),
        ("raw", "?"),
    ]


def test_an_old_format_is_read(tmp_path):
    old = nbformat.v3.new_notebook(worksheets=[nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell("1 + 1")])])
    path = tmp_path / "a.ipynb"
    path.write_text(nbformat.v3.writes_json(old))
    assert read_submission(path).cells[0].source == "1 + 1"


def test_ids_of_students_are_different_for_different_names_and_safe():
    odd = [
        "a",
        "A",
        "ä",
        "a\u0308",
        "a/b",
        "a%2Fb",
        "..",
        ".",
        "-rf",
        "a b",
        " a",
        "a ",
        "李雷",
        "محمد",
        "नमस्ते",
        "[ab]",
    ]
    odd += ["*", "a\nb", "😀", "\udcff", "%FF", "x" * 300, "x" * 301, "ß" * 120, "ß" * 121]
    ids = [student_id(name) for name in odd]
    assert len(set(ids)) == len(odd)
    for found in ids:
        assert len(found.encode()) <= 255 and not set("/\\*?[]\n\0") & set(found)
        assert found not in (".", "..") and found == found.strip() and not found.startswith(("-", "."))
    assert [student_id(name) for name in ("李雷", "नमस्ते", "a.b-c_d@e")] == ["李雷", "नमस्ते", "a.b-c_d@e"]


def test_submissions_are_found_however_they_lie(tmp_path):
    def put(path, age=0):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (10**9 - age,) * 2)

    put("Ann.ipynb")
    put("Bob/mine.ipynb", age=5)
    put("Bob/mine (1).ipynb")
    put("Bob/.ipynb_checkpoints/mine-checkpoint.ipynb")
    put("Cem/01_batch_norm/01_batch_norm.ipynb", age=9)
    put("Cem/01_batch_norm/draft.ipynb")
    put("Cem/02_schemes/02_schemes.ipynb")
    put("Dua/deep/down/x.ipynb")
    put("Ann/second.ipynb", age=7)
    put("notes.txt")
    put(".ipynb_checkpoints/Ann-checkpoint.ipynb")
    found = {
        each.student: (each.path.name, [path.name for path in each.others])
        for each in collect(tmp_path, "01_batch_norm")
    }
    assert found == {
        "Ann": ("Ann.ipynb", ["second.ipynb"]),
        "Bob": ("mine (1).ipynb", ["mine.ipynb"]),
        "Cem": ("01_batch_norm.ipynb", ["draft.ipynb"]),
        "Dua": ("x.ipynb", []),
    }
