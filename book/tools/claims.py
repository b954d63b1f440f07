"""Keep ``claims.lock``: every criterion of the book, one a line, fixed before it is tested.

``python book/tools/claims.py``                                   add new criteria; note what a replication found
``python book/tools/claims.py --open 05a 05c --reason "…"``       let criteria change; the old ones are kept
``python book/tools/claims.py --take other.lock``                  add the chapters that only another lock holds
``python book/tools/claims.py --check``                           fail where lock, chapters and replication differ
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

from lock import differences, extended, opened, read, settled, stale, tampered, tested, write
from stored import chapters, criteria, parameters, seeds_text, version


def commit(root: Path) -> str:
    """Return the commit of a working tree, with a + where files differ from it."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain") else "")


def today() -> str:
    """Return the date, the same in every time zone."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def load_replication(path: Path) -> dict:
    """Return what is stored of a replication; nothing if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def complaints(root: Path) -> list[str]:
    """Return everything that is out of step in a working tree."""
    lock, notebooks = root / "claims.lock", root / "notebooks"
    replication = load_replication(root / "pages" / "replication.json")
    found = tampered(lock) + differences(read(lock), criteria(notebooks))
    return found + (stale(replication, notebooks, allow_new=True) if replication else [])


def main(arguments: list[str] | None = None) -> None:
    """Read chapters, lock and replication of the tree at ``--root``; write the lock."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--open", nargs="+", default=[], metavar="CLAIM")
    parser.add_argument("--reason", default="")
    parser.add_argument("--take", type=Path, metavar="LOCK")
    given = parser.parse_args(arguments)
    if given.check:
        sys.exit("\n".join(complaints(given.root)) or None)
    lock = given.root / "claims.lock"
    paths = [path for path in (lock, given.take) if path is not None]
    edited = [text for path in paths if path.exists() or path == given.take for text in tampered(path)]
    if edited:
        sys.exit("\n".join(edited))
    lines = extended(*map(read, paths))
    try:
        lines = opened(lines, given.open, given.reason, today()) if given.open else _updated(given.root, lines)
    except ValueError as error:
        sys.exit(str(error))
    write(lock, lines)
    count = {status: sum(line["status"] == status for line in lines) for status in sorted({x["status"] for x in lines})}
    print(f"{lock.name}: {', '.join(f'{number} {status}' for status, number in count.items())}")


def _updated(root: Path, lines: list[dict]) -> list[dict]:
    """The lines after a plain ``make claims``; criteria that moved or vanished without being opened end it."""
    stated, cells = criteria(root / "notebooks"), chapters(root / "notebooks")
    start = {}
    for name, of_chapter in cells.items():
        seen = [value for key, value in parameters(of_chapter).items() if key.endswith("seeds")]
        start[name] = {"commit": commit(root), "date": today(), "seen": sorted(set(map(seeds_text, seen)))}
    lines = settled(lines, stated, start)
    wrong = differences(lines, stated)
    if wrong:
        raise ValueError("\n".join(wrong))
    versions = {name: version(of_chapter) for name, of_chapter in cells.items()}
    return tested(lines, stated, load_replication(root / "pages" / "replication.json"), versions)


if __name__ == "__main__":
    main()
