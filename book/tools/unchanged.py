"""Run after ``make notebooks`` on a clean tree: fail unless it stored again what is committed.

Training in float32 rounds differently on a CPU of another make.
There, pictures and the outputs of cells tagged nbval-ignore-output may differ from what is committed.
Nothing else may, and executing those notebooks again must give the very same bytes; what differs is printed.
"""

import json
import subprocess
import sys
from pathlib import Path

FREE = "nbval-ignore-output"


def git(*arguments):
    """Return what git prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def difference(path):
    """Return the first lines of what git shows for a file, without the pictures in them."""
    lines = git("diff", "--", str(path)).splitlines()
    return "\n".join(line[:200] for line in lines[:60])


def strict(text):
    """Return a notebook without what may differ on another CPU."""
    nb = json.loads(text)
    for cell in nb["cells"]:
        if FREE in cell["metadata"].get("tags", []):
            cell["outputs"] = []
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return nb


def changed_cells(before, after):
    """Return the indices of the cells that differ, and whether they differ in nothing but what may."""
    old, new = json.loads(before)["cells"], json.loads(after)["cells"]
    indices = [index for index, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]]
    return indices, strict(before) == strict(after)


def forgiven(path):
    """Report what differs in the file at ``path``, and return whether that is only what may."""
    if path.suffix != ".ipynb" or not path.exists():
        print(f"{path}: changed, added or removed\n" + difference(path))
        return False
    indices, only_free = changed_cells(git("show", f"HEAD:{path}"), path.read_text(encoding="utf-8"))
    print(f"{path}: cells {indices} differ, {'in pictures and untested outputs only' if only_free else 'NOT ALLOWED'}")
    if not only_free:
        print(difference(path))
    return only_free


def main():
    """Compare the tree with the last commit."""
    status = git("status", "--porcelain")
    if not status:
        print("executing every notebook again changed nothing")
        return
    print("NOT THE SAME BYTES as committed:\n" + status + git("diff", "--stat"))
    tracked = [Path(name) for name in git("diff", "--name-only", "HEAD").splitlines()]
    if "??" in status or not all([forgiven(path) for path in tracked]):
        sys.exit("executing every notebook again changed what must not change")
    first = {path: path.read_bytes() for path in tracked}
    subprocess.run([sys.executable, Path(__file__).with_name("execute.py"), *tracked], check=True)
    unsteady = [path for path in tracked if path.read_bytes() != first[path]]
    if unsteady or git("status", "--porcelain") != status:
        sys.exit(f"two executions on this machine differ: {', '.join(map(str, unsteady))}")
    print("WARNING: this CPU rounds otherwise than the one that made the stored outputs; two executions here agree")


if __name__ == "__main__":
    main()
