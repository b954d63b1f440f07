"""Citations in chapters are plain links, ``[Wu and He, 2018](https://arxiv.org/abs/1803.08494)``, so that they read and
lead everywhere, also where no reference list is built; here each is compared with ``references.bib``.

``python book/tools/citations.py KEY …`` prints the links to paste.
"""

import re
import sys
from pathlib import Path

from pybtex.database import Entry, parse_file

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]\[]*)\]\((https?://[^)\s]+)\)")
LIKE = re.compile(r"\A(?:[\w .'’-]+, )?(?:19|20)\d\d\Z")


def sources(path: Path = ROOT / "references.bib") -> dict[str, Entry]:
    """Return the entries of a file of references, by key."""
    return dict(parse_file(str(path), "bibtex").entries)


def address(entry: Entry) -> str:
    """Return where an entry can be read: its preprint, else its DOI, else its page."""
    fields = entry.fields
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return f"https://doi.org/{fields['doi']}" if "doi" in fields else fields["url"]


def authors(entry: Entry) -> str:
    """Return the authors as a citation names them: one, two, or the first and "et al."."""
    names = [
        " ".join(str(part) for part in (*person.rich_prelast_names, *person.rich_last_names))
        for person in entry.persons["author"]
    ]
    return names[0] + (f" and {names[1]}" if len(names) == 2 else " et al." if len(names) > 2 else "")


def label(entry: Entry) -> str:
    """Return an entry's label, such as ``Wu and He, 2018``."""
    return f"{authors(entry)}, {entry.fields['year']}"


def wrong(text: str, entries: dict[str, Entry]) -> list[str]:
    """Return a complaint for each citation in a text that is no entry, has another label, or is left as a role."""
    known = {}
    for entry in entries.values():
        known.setdefault(address(entry), []).append(entry)
    found = [
        f"{role}: write a link, as `python book/tools/citations.py KEY` prints it"
        for role in re.findall(r"\{cite[^`]*`[^`]*`", text)
    ]
    for shown, target in LINK.findall(text):
        labels = [name for entry in known.get(target, []) for name in (label(entry), entry.fields["year"])]
        if (labels or LIKE.match(shown)) and shown not in labels:
            rule = f"write {labels[0]!r} or {labels[1]!r}" if labels else "no entry of references.bib has this address"
            found.append(f"[{shown}]({target}): {rule}")
    return found


def cited(text: str, entries: dict[str, Entry]) -> set[str]:
    """Return the keys of the entries that a text cites."""
    targets = {target for _, target in LINK.findall(text)}
    return {key for key, entry in entries.items() if address(entry) in targets}


if __name__ == "__main__":
    for key in sys.argv[1:]:
        print(f"[{label(sources()[key])}]({address(sources()[key])})")
