"""Fail when a notebook and its text are out of step; the tree is left as it was found."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUFFIXES = {".ipynb", ".md"}
ALONE = "exercises"  # the folder of notebooks that are derived, and have no text


def out_of_step(root):
    """Return the files under ``root`` that bringing the pairs into step would change or add."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "notebooks"  # with jupytext.toml, which makes them pairs
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".ipynb_checkpoints", ALONE))
        one_of_each = {path.with_suffix(""): path for path in copy.rglob("*") if path.suffix in SUFFIXES}
        command = [sys.executable, "-m", "jupytext", "--quiet", "--sync"]
        if one_of_each:
            subprocess.run([*command, *map(str, sorted(one_of_each.values()))], check=True)
        after = [path.relative_to(copy) for path in sorted(copy.rglob("*")) if path.suffix in SUFFIXES]
        return [path for path in after if not same(copy / path, root / path)]


def same(one, other):
    """Return whether both files exist and hold the same bytes."""
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    stale = out_of_step(Path("notebooks"))
    if stale:
        sys.exit(f"a notebook and its text are out of step: {', '.join(map(str, stale))}\nrun: make notebooks")
