"""Run Monte Carlo batch norm on the UCI tables, and write the page that shows what came out.

``python book/tools/uci_table.py --rows pages/uci.json --page pages/uci.md [TABLE…]``
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from companion.studies.uci.published import SETTINGS, compare_with_submission, run_uci

BEGIN, END = "% The command above writes these tables.\n", "% The tables end here.\n"


def put_into(page: Path, rows: list[dict]) -> None:
    """Replace the tables of a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{compare_with_submission(rows)}\n{END}{after}", encoding="utf-8")


def in_order(stored: dict[tuple[str, int], dict]) -> list[dict]:
    """Return the rows by table, in the order of the settings, and by batch size."""
    return [stored[key] for key in sorted(stored, key=lambda key: (list(SETTINGS).index(key[0]), key[1]))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print a line for each table and batch size, and store the rows and the page that shows them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="table", help=f"of {', '.join(SETTINGS)}; all by default")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--rows", type=Path, help="JSON file to store the rows in, and to add to")
    parser.add_argument("--page", type=Path, help="Markdown page to put the table into")
    parser.add_argument("--no-run", action="store_true", help="only show the rows that are stored")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(SETTINGS))
    if unknown:
        parser.error(f"no table of the name {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
    torch.set_num_threads(1)
    stored = {}
    if given.rows and given.rows.exists():
        stored = {(row["name"], row["batch_size"]): row for row in json.loads(given.rows.read_text(encoding="utf-8"))}
    for row in [] if given.no_run else run_uci(given.names or SETTINGS, given.batch_sizes, given.seed):
        stored[row["name"], row["batch_size"]] = row
        print(json.dumps(row), flush=True)
        if given.rows:
            given.rows.write_text(json.dumps(in_order(stored), indent=1) + "\n", encoding="utf-8")
    print(compare_with_submission(in_order(stored)))
    if given.page:
        put_into(given.page, in_order(stored))


if __name__ == "__main__":
    main()
