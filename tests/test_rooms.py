"""Who may import whom in the package: the rules of pyproject.toml hold, and each turns red when broken."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "companion").glob("*/*.py"))


def lint_imports(folder):
    """Run import-linter on the package in ``folder``."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("norms", "import numpy"),
        ("norms", "import companion.show"),
        ("show", "import torch"),
        ("show", "import companion.norms"),
        ("show", "import companion.probes"),
        ("show", "import companion"),
        ("probes", "import numpy"),
        ("probes", "import companion.lab"),
        ("probes", "import companion.show"),
        ("probes", "import companion.course"),
        ("norms", "import companion.probes"),
        ("lab", "import companion.course"),
        ("course", "import companion.lab"),
        ("course", "import companion.show"),
    ],
)
def test_a_forbidden_import_turns_the_check_red(room, line, tmp_path):
    shutil.copytree(ROOT / "companion", tmp_path / "companion")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "companion" / room / "planted.py").write_text(f'"""Planted."""\n{line}\n')
    result = lint_imports(tmp_path)
    assert result.returncode == 1 and "planted" in result.stdout, result.stdout + result.stderr


def imported(module):
    """First parts of the names that a module imports."""
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
