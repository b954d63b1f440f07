"""Who may import whom in the package: the rules of pyproject.toml hold, and each turns red when broken."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for package in ("companion", "classroom") for path in (ROOT / package).rglob("*.py"))


def lint_imports(folder):
    """Run import-linter on the package in ``folder``."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("companion/norms", "import numpy"),
        ("companion/norms", "import companion.probes"),
        ("companion/norms", "import companion.show"),
        ("companion/probes", "import scipy"),
        ("companion/probes", "import companion.lab"),
        ("companion/probes", "import companion.figures"),
        ("companion/lab", "import companion.figures"),
        ("companion/lab", "import companion.studies"),
        ("companion/lab", "import companion.checks"),
        ("companion/show", "import torch"),
        ("companion/show", "import companion.norms"),
        ("companion/figures", "import torch"),
        ("companion/figures", "import companion.show"),
        ("companion/figures", "import companion.lab"),
        ("companion/checks", "import companion.lab"),
        ("companion/checks", "import companion.show"),
        ("companion/studies", "import companion.figures"),
        ("companion/studies", "import companion.checks"),
        ("companion/norms", "import classroom"),
        ("companion/checks", "import classroom.grading"),
        ("classroom/grading", "import companion.norms"),
        ("classroom/authoring", "import companion.lab"),
        ("classroom/grading", "import companion.checks.comparing"),
        ("classroom/inside", "import companion.checks.batch_norm"),
        ("classroom/intake", "import companion"),
        ("classroom/authoring", "import classroom.grading"),
        ("classroom/intake", "import classroom.grading"),
        ("classroom/grading", "import classroom.cli"),
        ("classroom/grading", "import nbgrader"),
        ("classroom/authoring", "from nbgrader.converters import GenerateAssignment"),
        ("companion/checks", "import nbgrader"),
        ("classroom/sandbox", "import classroom.authoring"),
        ("classroom/inside", "import classroom.authoring.sets"),
        ("classroom/grading", "import classroom.inside.runner"),
        ("classroom/sandbox", "import classroom.inside"),
    ],
)
def test_a_forbidden_import_turns_the_check_red(room, line, tmp_path):
    for package in ("companion", "classroom"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / room / "planted.py").write_text(f'"""Planted."""\n{line}\n')
    result = lint_imports(tmp_path)
    assert result.returncode == 1 and "planted" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("room", ["norms", "probes"])
def test_a_room_of_torch_loads_nothing_that_draws(room):
    code = f"import sys, companion.{room}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"matplotlib", "anywidget", "ipywidgets", "IPython", "sklearn", "scipy", "pandas", "companion.lab"}
    assert "torch" in loaded and not heavy & set(loaded)


def test_every_public_name_is_in_its_room_and_nothing_else_is_loaded_for_it():
    import companion

    for name, room in companion.ROOM_OF.items():
        assert getattr(companion, name) is getattr(importlib.import_module(f"companion.{room}"), name)
    assert set(companion.__all__) <= set(dir(companion))
    with pytest.raises(AttributeError, match="no attribute 'BatchNrom'"):
        companion.BatchNrom  # noqa: B018


def imported(module):
    """Yield the first parts of the names that a module imports."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("module", [path for path in MODULES if path.parent.name in ("norms", "probes")], ids=str)
def test_norms_and_probes_need_nothing_but_torch(module):
    assert set(imported(module)) <= {"torch", "companion", *sys.stdlib_module_names}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_is_named_like_a_function_in_it(module):
    # `from companion.room import name` would give the function or the module, depending on what ran before
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert module.stem not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_notebook_that_introduces_a_name_exists(module):
    for named in re.findall(r"``(notebooks/[^`]+)``", module.read_text(encoding="utf-8")):
        assert (ROOT / named).is_file(), named
