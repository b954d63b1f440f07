"""Execute notebooks in place, so that a second run changes no byte.

``python book/tools/execute.py [--limit CPU_SECONDS] [--jobs NUMBER] NOTEBOOK…``
"""

import argparse
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
STANDARD = 0.1  # CPU seconds of the work in `slowness`, on the machine that limits were stated for


def clean(nb):
    """Remove from an executed notebook what differs from run to run, in place."""
    nb.metadata.pop("widgets", None)
    nb.metadata.pop("language_info", None)  # holds Python's version
    for cell in nb.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)


def merged(outputs):
    """Return the outputs without random ids and blanked displays, and with neighbouring pieces of one stream joined."""
    kept = []
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET_VIEW, None)  # its model_id is random
            if output.output_type == "display_data" and not output.data:
                continue  # what a progress bar leaves behind
        # How a stream is cut into pieces depends on timing.
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def run(path):
    """Return the notebook at ``path``, executed; a message ends the program if a cell raises or writes to stderr."""
    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(
        nb,
        timeout=900,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # not: that the kernel talks over TCP
        resources={"metadata": {"path": str(path.parent)}},  # where JupyterLab and nbval run it too
    )
    try:
        client.execute()
    except CellExecutionError as error:
        index = next(i for i, cell in enumerate(nb.cells) if any(o.output_type == "error" for o in outputs(cell)))
        sys.exit(f"{path}: cell {index} raised; the file is left as it was\n{error}")
    for index, cell in enumerate(nb.cells):
        for output in outputs(cell):
            if output.get("name") == "stderr":
                sys.exit(f"{path}: cell {index} wrote to stderr; the file is left as it was\n{output.text}")
    clean(nb)
    return nb


def outputs(cell):
    """Return the outputs of a cell of any kind."""
    return cell.get("outputs", [])


def seconds():
    """Return the CPU seconds of all kernels that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(path):
    """Return the executed notebook, and the CPU seconds that it took."""
    before = seconds()
    return run(path), seconds() - before


def store(path):
    """Execute a notebook, write it back, and return the CPU seconds that it took."""
    nb, taken = timed(path)
    nbformat.write(nb, path)
    return taken


def slowness():
    """Return how many times slower than the machine that limits were stated for this one is now, at small networks.

    Limits count CPU seconds, which do not depend on what else runs, but do on the processor.
    """
    import torch  # only a limit needs it

    network = torch.nn.Sequential(*[layer for _ in range(4) for layer in (torch.nn.Linear(64, 64), torch.nn.Tanh())])
    x, least = torch.ones(100, 64), float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(200):
            network(x).sum().backward()
        least = min(least, time.process_time() - began)
    return max(1.0, least / STANDARD)


def allowed_seconds(path, limit):
    """Return the limit of CPU seconds that a notebook states in its metadata, or ``limit`` if it states none."""
    stated = nbformat.read(path, as_version=4).metadata.get("companion", {})
    return stated.get("cpu_seconds", limit)


def main(paths, limit=None, jobs=2):
    """Execute the notebooks, ``jobs`` at a time; with a limit, end the program if one takes longer than it may."""
    with ProcessPoolExecutor(min(jobs, len(paths)) or 1) as pool:
        least = dict(zip(paths, pool.map(store, paths), strict=True))
    slow = []
    for path in paths:
        allowed = None if limit is None else allowed_seconds(path, limit)
        # What else a machine does slows a notebook down, at times for minutes, and nothing speeds it up: the least of
        # six counts, five of them alone, each beside a measure of how slow the machine is then.
        for _ in range(5):
            if allowed is not None and least[path] > allowed:
                before, (_, taken) = slowness(), timed(path)
                least[path] = min(least[path], taken / max(before, slowness()))
        print(f"{path}: {least[path]:.1f} CPU seconds", flush=True)
        if allowed is not None and least[path] > allowed:
            slow.append(f"longer than {allowed:g} CPU seconds: {path}")
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, help="CPU seconds of a notebook that does not state its own limit")
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.paths, arguments.limit, arguments.jobs)
