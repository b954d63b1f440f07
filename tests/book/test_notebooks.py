"""Chapters are as the design wants them, run repeatably, and their stored outputs are really compared."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "tools"))

import citations  # noqa: E402
import execute  # noqa: E402
import pairs  # noqa: E402
import unchanged  # noqa: E402

CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
EXECUTED = [*CHAPTERS, *sorted((ROOT / "notebooks" / "solutions").glob("*/*.ipynb"))]
UNTESTED = "nbval-ignore-output"
SOURCES = citations.sources()
CAPTION = re.compile(r"\*\*Figure (\d+\.\d+)\.\*\*\n\S")
NBVAL = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=900"]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def label(path):
    """Return a notebook's name in the list of tests."""
    return path.stem if path in CHAPTERS else f"exercises-{path.stem}"


each_notebook = pytest.mark.parametrize("path", EXECUTED, ids=label)


def read(path):
    """Return the notebook, with all text as single strings."""
    return nbformat.read(path, as_version=4)


def code_cells(path):
    """Return code cells with their indices."""
    return [(index, cell) for index, cell in enumerate(read(path).cells) if cell.cell_type == "code"]


def tags(cell):
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def text(path):
    """Return all the Markdown of a notebook."""
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


# The pair


def test_pairs_are_in_step():
    assert pairs.out_of_step(ROOT / "notebooks") == []


@pytest.mark.parametrize("suffix", [".md", ".ipynb"])
def test_a_pair_out_of_step_is_named(suffix, tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    edited = (tmp_path / "notebooks" / CHAPTERS[0].name).with_suffix(suffix)
    edited.write_text(edited.read_text(encoding="utf-8").replace("Normalize", "Denormalize", 1), encoding="utf-8")
    os.utime(edited)  # whoever edits makes it the newer one
    assert pairs.out_of_step(tmp_path / "notebooks")


def test_a_notebook_without_its_text_is_named(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    alone = (tmp_path / "notebooks" / CHAPTERS[0].name).with_suffix(".md")
    alone.unlink()
    assert Path(alone.name) in pairs.out_of_step(tmp_path / "notebooks")


# What is stored


@each_notebook
def test_every_cell_was_executed_in_order(path):
    # nbval compares nothing in a cell without a count
    counts = [cell.execution_count for _, cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_nothing_stored_differs_from_run_to_run(path):
    nb = read(path)
    cleaned = read(path)
    execute.clean(cleaned)
    assert cleaned == nb
    printed = json.dumps([cell.outputs for _, cell in code_cells(path)])
    assert not re.search(r"0x[0-9a-f]{6,}", printed), "an object's address"
    assert "image/svg+xml" not in printed, "SVG, which strict comparison fails on"


@each_notebook
def test_no_error_and_no_warning_is_stored(path):
    for index, cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {index}"
            assert output.get("name") != "stderr", f"cell {index}"


@each_chapter
def test_more_outputs_are_compared_than_ignored(path):
    written = [
        UNTESTED in tags(cell)
        for _, cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "stream" or (output.output_type == "execute_result" and "text/plain" in output.data)
    ]
    assert sum(written) <= len(written) / 2


@each_chapter
def test_file_is_small_enough_to_review(path):
    assert path.stat().st_size < 1_500_000


# A chapter's anatomy


@each_chapter
def test_sections_of_a_chapter(path):
    chapter = text(path)
    for wanted in [r"\A# \w", r"\*You will\*", r"\*Predict first", r"^## What we found", r"^## In practice"]:
        assert re.search(wanted, chapter, re.M), wanted
    assert len(re.findall(r"^# ", chapter, re.M)) == 1
    assert citations.cited(chapter, SOURCES)


@each_notebook
def test_text_reads_well_where_nothing_but_markdown_is_known(path):
    assert citations.wrong(text(path), SOURCES) == []
    prose = re.sub(r"```.*?```", "", text(path), flags=re.S)
    assert re.findall(r"\{[a-z:]+\}`|^(?:`{3,}|:{3,})\s*\{|^\([\w-]+\)=$", prose, re.M) == []


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("[Wu and He, 2018](https://arxiv.org/abs/1803.08494) and [2018](https://arxiv.org/abs/1803.08494)", None),
        ("[the notes](https://example.org/notes)", None),
        ("{cite}`wu2018`", "{cite}`wu2018`: write a link"),
        ("[Wu, 2018](https://arxiv.org/abs/1803.08494)", "write 'Wu and He, 2018' or '2018'"),
        ("[Wu and He, 2019](https://arxiv.org/abs/1803.08494)", "write 'Wu and He, 2018' or '2018'"),
        ("[Wu and He, 2018](https://arxiv.org/abs/1803.08495)", "no entry of references.bib has this address"),
    ],
)
def test_a_wrong_citation_is_named(written, complaint):
    found = citations.wrong(written, SOURCES)
    assert (found == []) if complaint is None else (len(found) == 1 and complaint in found[0])


@each_chapter
def test_one_cell_holds_the_parameters(path):
    # papermill puts the values it is given after this cell, so nothing before it may use them
    (cell,) = [cell for _, cell in code_cells(path) if "parameters" in tags(cell)]
    assert all(re.match(r"\w+ = ", line) for line in cell.source.splitlines() if line and not line.startswith("#"))


@each_notebook
def test_cells_are_short(path):
    for index, cell in code_cells(path):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        longest = 15 if path in CHAPTERS else 20  # a bug hides in more lines than a lesson has
        assert len(lines) <= longest or "hide-input" in tags(cell), f"cell {index}"


@each_chapter
def test_code_fits_the_column_of_the_site(path):
    for index, cell in code_cells(path):
        assert max(map(len, cell.source.splitlines()), default=0) <= 79 or "hide-input" in tags(cell), f"cell {index}"


@each_notebook
def test_nothing_is_installed_or_downloaded_in_a_cell(path):
    for index, cell in code_cells(path):
        assert not re.search(r"^\s*[!%]\s*(pip|conda|wget|curl)\b", cell.source, re.M), f"cell {index}"


@each_notebook
def test_figures_have_caption_and_alternative_text(path):
    numbers = []
    for index, cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            shown = cell.metadata.get("mystnb", {})
            assert len(shown.get("image", {}).get("alt", "")) > 20, f"cell {index}"
            assert "figure" not in shown, f"cell {index}: a caption is a text below the cell, seen everywhere"
            numbers.append(CAPTION.match(read(path).cells[index + 1].source)[1])
    chapter = int(path.stem[:2])
    assert numbers == [f"{chapter}.{number + 1}" for number in range(len(numbers))]


@each_chapter
def test_plots_and_claims_are_folded_on_the_site_and_in_jupyterlab(path):
    for index, cell in code_cells(path):
        plots = cell.source.endswith("plt.show()") or re.search(r"^Claim\(", cell.source, re.M)
        hidden = bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
        assert hidden is ("hide-input" in tags(cell)), f"cell {index}"
        assert hidden or not plots, f"cell {index}"


@each_chapter
def test_at_least_one_figure_is_interactive(path):
    outputs = [output for _, cell in code_cells(path) for output in cell.outputs]
    assert any('<script type="module">' in output.get("data", {}).get("text/html", "") for output in outputs)


SENTENCE_END = re.compile(r"""[a-z0-9)\]}$`"'][.?!] [A-Z]""")
ABBREVIATIONS = re.compile(r"\b(?:e\.g|i\.e|cf|vs|et al|fig|eq|sec|no)\. ")


@each_chapter
def test_one_sentence_per_line(path):
    prose = re.sub(r"(```|\$\$).*?\1", "", text(path), flags=re.S)  # without code and formulas
    crowded = [line for line in prose.splitlines() if SENTENCE_END.search(ABBREVIATIONS.sub("", line))]
    assert crowded == []


# Running


def quiet(**more):
    """Return the environment in which make runs notebooks."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COMPANION_DEVICE": "cpu", **more}


def run_tool(path, *options):
    """Execute a notebook in place as ``make notebooks`` does."""
    command = [sys.executable, str(ROOT / "book" / "tools" / "execute.py"), *options, path.name]
    return subprocess.run(command, cwd=path.parent, env=quiet(), capture_output=True, text=True)


def notebook(path, *sources):
    """Write a notebook with these code cells."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{index}") for index, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.parametrize(("limit", "passes"), [("0.01", False), ("1000", True)])
def test_a_notebook_over_its_limit_of_cpu_seconds_is_named(limit, passes, tmp_path):
    result = run_tool(notebook(tmp_path / "busy.ipynb", "sum(range(1000))"), "--limit", limit)
    assert (result.returncode == 0) is passes
    assert ("longer than 0.01 CPU seconds: busy.ipynb" in result.stderr) is not passes


@pytest.mark.parametrize(("counts", "passes"), [([31.0] * 5, False), ([34.0, 31.0, 33.0, 29.0], True)])
def test_the_least_of_several_counts_is_held_to_the_limit(counts, passes, tmp_path, monkeypatch, capsys):
    path = notebook(tmp_path / "busy.ipynb", "pass")
    counts = iter(counts)
    monkeypatch.setattr(execute, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(execute, "store", lambda path: 40.0)
    monkeypatch.setattr(execute, "timed", lambda path: (None, next(counts)))
    monkeypatch.setattr(execute, "slowness", lambda: 1.0)
    if passes:
        execute.main([path], limit=30)
    else:
        with pytest.raises(SystemExit, match="longer than 30 CPU seconds"):
            execute.main([path], limit=30)
    assert list(counts) == []  # it counts on as long as it must, and no longer
    assert f"{29 if passes else 31}.0 CPU seconds" in capsys.readouterr().out


def test_a_slower_processor_gets_more_seconds_and_a_faster_one_no_fewer(tmp_path, monkeypatch):
    path = notebook(tmp_path / "busy.ipynb", "pass")
    monkeypatch.setattr(execute, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(execute, "store", lambda path: 40.0)
    monkeypatch.setattr(execute, "timed", lambda path: (None, 40.0))
    monkeypatch.setattr(execute, "slowness", lambda: 1.5)
    execute.main([path], limit=30)
    monkeypatch.setattr(execute, "slowness", lambda: 1.25)
    with pytest.raises(SystemExit, match="longer than 30 CPU seconds"):
        execute.main([path], limit=30)
    monkeypatch.undo()
    monkeypatch.setattr(execute, "STANDARD", 1e9)
    assert execute.slowness() == 1.0
    monkeypatch.setattr(execute, "STANDARD", 1e-9)
    assert execute.slowness() > 1


@pytest.mark.parametrize(
    ("source", "message"),
    [("1 / 0", "cell 1 raised"), ("import sys; print('careful', file=sys.stderr)", "cell 1 wrote to stderr")],
)
def test_a_cell_that_goes_wrong_is_named_and_nothing_is_written(source, message, tmp_path):
    path = notebook(tmp_path / "wrong.ipynb", "print('fine')", source)
    before = path.read_bytes()
    result = run_tool(path)
    assert result.returncode != 0
    assert f"wrong.ipynb: {message}" in result.stderr
    assert path.read_bytes() == before


# Comparing


def compare(path, **environment):
    """Run nbval on a notebook as ``make test`` does."""
    command = [sys.executable, *NBVAL, "--rootdir", str(path.parent), path.name]
    return subprocess.run(command, cwd=path.parent, env=quiet(**environment), capture_output=True, text=True)


@pytest.fixture(scope="module")
def start_of_chapter(tmp_path_factory):
    """Return the first chapter up to where batch norm is compared with torch's: exact outputs, and no training."""
    nb = read(CHAPTERS[0])
    last = next(index for index, cell in enumerate(nb.cells) if "compare_batch_norm(" in cell.source)
    nb.cells = nb.cells[: last + 1]
    path = tmp_path_factory.mktemp("start") / "start.ipynb"
    nbformat.write(nb, path)
    result = compare(path)
    assert result.returncode == 0, result.stdout
    return path


@pytest.mark.slow
def test_a_wrong_stored_output_turns_the_comparison_red(start_of_chapter, tmp_path):
    nb = read(start_of_chapter)
    output = next(output for cell in nb.cells for output in cell.get("outputs", []) if output.get("name") == "stdout")
    output.text = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), output.text, count=1)
    nbformat.write(nb, tmp_path / "planted.ipynb")
    result = compare(tmp_path / "planted.ipynb")
    assert result.returncode == 1
    assert "Cell outputs differ" in result.stdout
    assert "1 failed" in result.stdout


WRONG = """
_right = moments
def moments(x, examples, channels):
    mean, var = _right(x, examples, channels)
    n = x.numel() / mean.numel()
    return mean, var * n / (n - 1)
"""


@pytest.mark.slow
def test_a_wrong_package_turns_the_comparison_red(start_of_chapter, tmp_path):
    shutil.copytree(ROOT / "companion", tmp_path / "companion")
    norms = (tmp_path / "companion" / "norms").glob("*.py")
    (module,) = [module for module in norms if "\ndef moments(" in module.read_text(encoding="utf-8")]
    module.write_text(module.read_text(encoding="utf-8") + WRONG, encoding="utf-8")
    result = compare(start_of_chapter, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "Cell outputs differ" in result.stdout


@pytest.mark.slow
def test_a_progress_bar_leaves_nothing_to_store_or_compare(tmp_path):
    # drawn at most four times a second, so a bar's output would depend on the machine's speed
    source = "import time\nfrom companion.show import track\nfor _ in track(range(3), 3):\n    time.sleep(0.3)"
    path = notebook(tmp_path / "bar.ipynb", source)
    assert run_tool(path).returncode == 0
    assert read(path).cells[0].outputs == []
    result = compare(path)
    assert result.returncode == 0, result.stdout


def stored(printed, picture, number, tag):
    """Return text of a notebook with an exact output, a picture, and a number in a cell with a tag."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(id=name) for name in "abc"])
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text=printed)]
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"})]
    nb.cells[2].outputs = [nbformat.v4.new_output("stream", text=number)]
    nb.cells[2].metadata.tags = [tag]
    return nbformat.writes(nb)


def test_what_may_differ_on_another_machine_is_pictures_and_untested_outputs():
    base, compared = stored("1", "AAAA", "0.5", UNTESTED), stored("1", "AAAA", "0.5", "hide-input")
    assert unchanged.changed_cells(base, stored("1", "BBBB", "0.6", UNTESTED)) == ([1, 2], True)
    assert unchanged.changed_cells(base, stored("2", "AAAA", "0.5", UNTESTED)) == ([0], False)
    assert unchanged.changed_cells(compared, stored("1", "AAAA", "0.6", "hide-input")) == ([2], False)


def with_output(path, source, output):
    """Write a notebook with one cell that has been executed, and what it stores."""
    nb = read(notebook(path, source))
    nb.cells[0].execution_count = 1
    nb.cells[0].metadata.tags = [UNTESTED] if "ignored" in source else []
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text=output)]
    nbformat.write(nb, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "committed", "now", "said", "passes"),
    [
        ("print(1)", "1\n", "1\n", "executing every notebook again changed nothing", True),
        ("print(1)", "2\n", "1\n", "one.ipynb: cells [0] differ, NOT ALLOWED", False),
        # as on a CPU that rounds otherwise, where a second execution is steady, or is not
        ("print(1)  # ignored", "2\n", "1\n", "WARNING: this CPU rounds otherwise", True),
        ("import os; print(os.urandom(8).hex())  # ignored", "2\n", "1\n", "two executions on this machine", False),
    ],
    ids=["steady", "another output", "another CPU", "unsteady"],
)
def test_executing_again_changes_no_byte_or_ci_says_what(source, committed, now, said, passes, tmp_path):
    path = with_output(tmp_path / "one.ipynb", source, committed)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "stored"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)
    with_output(path, source, now)
    command = [sys.executable, str(ROOT / "book" / "tools" / "unchanged.py")]
    result = subprocess.run(command, cwd=tmp_path, env=quiet(), capture_output=True, text=True)
    assert (result.returncode == 0) is passes, result.stdout + result.stderr
    assert said in result.stdout + result.stderr


def test_ci_executes_every_notebook_once_more_and_compares():
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^stage \w+ make notebooks LIMIT=30\nstage \w+ \S+ book/tools/unchanged.py$", commands, re.M)
