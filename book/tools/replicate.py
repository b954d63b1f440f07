"""Run chapters again on seeds that nobody has seen, and store what their claims measure; notebooks stay as they are.

``python book/tools/replicate.py [--seeds 1000:1020] [--chapters 02 09] [--jobs NUMBER] [--fresh]``

A chapter that is stored already, for these seeds and this version of its code, is not run again unless asked to.
Where a cell raises, the chapter's other cells still run: what came out and what raised are both stored.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill
from claims import commit, load_replication, today
from papermill.exceptions import PapermillExecutionError
from stored import chapters, parameters, seeds_of, seeds_text, stored_claims, version
from tqdm import tqdm

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
KEPT = ("quantity", "values", "rule", "over", "tie", "met")
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill adds


def injected(defaults: dict[str, object], seeds: list[int]) -> dict[str, object]:
    """Return the parameters to replace: every list of seeds, and the seed that data are drawn or split with.

    Raises:
        ValueError: If the chapter has no seeds, or has used some of these.
    """
    lists = {name: value for name, value in defaults.items() if name.endswith("seeds")}
    if "seeds" not in lists:
        raise ValueError("no cell tagged 'parameters' sets seeds: add one, such as seeds = list(range(100, 105))")
    used = sorted(set(seeds).intersection(*[set().union(*lists.values())]))
    if used:
        raise ValueError(f"seeds {seeds_text(used)} are the chapter's own: a replication needs others")
    data = {"data_seed": seeds[0]} if "data_seed" in defaults else {}
    return {**dict.fromkeys(lists, seeds), **data}


def execute(path: Path, replaced: dict[str, object]) -> dict:
    """Return what the chapter at ``path`` measures with other parameters: claims, errors and seconds."""
    began, errors = time.monotonic(), []
    with TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        options = {"kernel_name": "python3", "cwd": str(path.parent), "progress_bar": False, "allow_errors": True}
        options["language"] = "python"
        options["extra_arguments"] = ["--log-level=ERROR"]  # not: that the kernel talks over TCP
        try:
            papermill.execute_notebook(str(path), str(out), parameters=replaced, **options)
        except PapermillExecutionError:
            pass  # the cells that raised are in the output, and the others ran
        except Exception as error:  # a kernel that died, or none: whatever it is, the other chapters go on
            errors.append(f"the run broke off: {type(error).__name__}: {error}"[:300])
        cells = json.loads(out.read_text(encoding="utf-8"))["cells"] if out.exists() else []
    own = [cell for cell in cells if not ADDED & set(cell["metadata"].get("tags", []))]
    for index, cell in enumerate(own):
        raised = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
        errors += [f"cell {index} raised {output['ename']}: {output['evalue']}"[:300] for output in raised]
    return {"claims": stored_claims(own), "errors": errors, "seconds": round(time.monotonic() - began, 1)}


def record(found: dict, seeds: list[int], code: str, root: Path) -> dict:
    """Return what is stored of a run."""
    claims = [
        {
            "id": claim["id"],
            "statement": claim["statement"],
            "verdict": claim["verdict"],
            "evidence": [{name: part[name] for name in KEPT} for part in claim["evidence"]],
        }
        for claim in found["claims"]
    ]
    return {
        "version": code,
        "seeds": seeds,
        "commit": commit(root),
        "date": today(),
        "machine": f"{platform.system()} {platform.machine()}, {os.environ['COMPANION_DEVICE']}",
        "packages": {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}},
        "seconds": found["seconds"],
        "errors": found["errors"],
        "claims": claims,
    }


def store(path: Path, name: str, run: dict) -> None:
    """Add a chapter's run to the file at ``path``, so that an interruption loses no other."""
    stored = load_replication(path)
    stored["chapters"] = dict(sorted({**stored.get("chapters", {}), name: run}.items()))
    text = json.dumps(stored, ensure_ascii=False, indent=1, allow_nan=False)
    text = re.sub(r'\[[^][{}"]*\]', lambda numbers: " ".join(numbers[0].split()), text)  # a list of numbers: one line
    beside = path.with_suffix(".part")
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def select(known: dict[str, list], wanted: list[str]) -> tuple[list[str], list[str]]:
    """Return the chapters that are wanted (all, if none is named), and a complaint for each that is not there."""
    names = [name for name in known if not wanted or any(name == want or name[:2] == want for want in wanted)]
    missing = [want for want in wanted if not any(want in (name, name[:2]) for name in known)]
    return names, [f"no chapter {want!r}: there are {', '.join(name[:2] for name in known)}" for want in missing]


def plan(root: Path, stored: dict, seeds: list[int], wanted: list[str], fresh: bool) -> tuple[dict, list[str]]:
    """Return the parameters of each chapter that is still to run, and complaints about those that cannot."""
    known, todo = chapters(root / "notebooks"), {}
    names, wrong = select(known, wanted)
    for name in names:
        run = stored.get("chapters", {}).get(name, {})
        done = (run.get("version"), run.get("seeds"), run.get("errors")) == (version(known[name]), seeds, [])
        if done and not fresh:
            print(f"{name}: stored already")
            continue
        try:
            todo[name] = injected(parameters(known[name]), seeds)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return todo, wrong


def replicate(root: Path, to: Path, seeds: list[int], todo: dict[str, dict], jobs: int) -> list[str]:
    """Run chapters side by side and store each as it ends; a complaint for every cell and chapter that failed."""
    known, wrong = chapters(root / "notebooks"), []
    with ProcessPoolExecutor(jobs) as pool:
        runs = {pool.submit(execute, root / "notebooks" / f"{name}.ipynb", todo[name]): name for name in todo}
        for future in tqdm(as_completed(runs), total=len(runs), unit="chapter", disable=not runs):
            name, found = runs[future], future.result()
            wrong += [f"{name}: {error}" for error in found["errors"]]
            if found["claims"]:
                store(to, name, record(found, seeds, version(known[name]), root))
                tqdm.write(f"{name}: {len(found['claims'])} claims, {found['seconds']:.0f} s")
            else:
                wrong.append(f"{name}: stored no claim, so nothing is kept of this run")
    return wrong


def main(arguments: list[str] | None = None) -> None:
    """Replicate the chapters of the tree at ``--root``; exit with what went wrong, after all else is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--to", type=Path, help="where to store; pages/replication.json by default")
    parser.add_argument("--seeds", default="1000:1020", help="the last is left out")
    parser.add_argument("--chapters", nargs="*", default=[], help="numbers or names; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--fresh", action="store_true", help="run what is stored already, too")
    given = parser.parse_args(arguments)
    to = given.to or given.root / "pages" / "replication.json"
    try:
        seeds = seeds_of(given.seeds)
    except ValueError as error:
        sys.exit(str(error))
    # Claims are recorded as they come out; one thread and the CPU, as for the stored outputs.
    os.environ |= {"COMPANION_REPLICATION": "1", "OMP_NUM_THREADS": "1"}
    os.environ.setdefault("COMPANION_DEVICE", "cpu")
    todo, wrong = plan(given.root, load_replication(to), seeds, given.chapters, given.fresh)
    wrong += replicate(given.root, to, seeds, todo, given.jobs)
    if wrong:
        sys.exit("\n".join(["", *wrong]))


if __name__ == "__main__":
    main()
