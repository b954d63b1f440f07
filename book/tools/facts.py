"""Write the tables of chapters in README.md and companion/README.md, from what each notebook says of itself.

``python book/tools/facts.py``

A chapter's title is the heading of its notebook; promise, minutes and the limit of CPU seconds are in its metadata::

    companion: {promise: …, minutes: 30, cpu_seconds: 30}
"""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- chapters: written by make notebooks -->\n", "<!-- end of chapters -->\n"
STUDIED = ("norms", "probes", "figures", "studies", "checks")  # lab and show serve every chapter


@dataclass(frozen=True)
class Chapter:
    """Facts of a chapter, as its notebook states them."""

    name: str
    title: str
    promise: str
    minutes: int
    cpu_seconds: float

    @property
    def number(self) -> int:
        """The number that its file's name begins with."""
        return int(self.name.split("_")[0])


def read_chapters(root: Path) -> list[Chapter]:
    """Return the chapters of the book in ``root``, in order.

    Raises:
        ValueError: If a notebook has no title, or lacks a fact.
    """
    return [read_chapter(path) for path in sorted((root / "notebooks").glob("[0-9]*.ipynb"))]


def read_chapter(path: Path) -> Chapter:
    """Return what one notebook says of itself."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    facts = notebook["metadata"].get("companion", {})
    title = re.match(r"# (.+)", "".join(notebook["cells"][0]["source"]))
    lacking = sorted({"promise", "minutes", "cpu_seconds"} - set(facts))
    if title is None or lacking:
        raise ValueError(
            f"{path.name} must begin with `# Title` and have promise, minutes and cpu_seconds in its metadata under "
            f"companion, but lacks {', '.join(lacking) or 'the title'}; the head of {path.stem}.md is the place"
        )
    return Chapter(path.stem, title[1], **facts)


def modules(root: Path, name: str) -> dict[str, list[str]]:
    """Return the modules of ``companion`` that a chapter and its set use, by room."""
    table = ast.parse((root / "companion" / "__init__.py").read_text(encoding="utf-8"))
    rooms = next(ast.literal_eval(node.value) for node in table.body if _assigns(node, "ROOMS"))
    room_of = {public: room for room, names in rooms.items() for public in names.split()}
    found = defaultdict(set)
    for used in _used(root, name):
        room, part = used.split(".")[:2] if "." in used else (room_of.get(used, ""), used)
        module = part if (root / "companion" / room / f"{part}.py").is_file() else _origin(root, room, part)
        found[room].add(module)
    return {room: sorted(filter(None, found[room])) for room in STUDIED if found[room]}


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [name]


def _used(root: Path, name: str) -> Iterator[str]:
    """Yield what a chapter and its set take from the package: ``fit``, or with its room ``norms.moments``."""
    notebooks = root / "notebooks"
    for path in (notebooks / f"{name}.ipynb", notebooks / "solutions" / name / f"{name}.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
        for cell in cells:
            tree = ast.parse("".join(cell["source"]) if cell["cell_type"] == "code" else "")
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("companion."):
                    inside = node.module.removeprefix("companion").removeprefix(".")
                    yield from (f"{inside}.{alias.name}" if inside else alias.name for alias in node.names)
                elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "companion":
                    yield node.attr


def _origin(root: Path, room: str, name: str) -> str:
    """Return the module of a room that hands a name on, a file or a folder; empty if none does."""
    path = root / "companion" / room / "__init__.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body if room else []:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return node.module.split(".")[2]
    return ""


def tables(root: Path) -> dict[Path, str]:
    """Return for each file that tables the chapters what it should hold."""
    shows, uses = ["| chapter | what it shows |", "|---|---|"], ["| chapter | where its code is |", "|---|---|"]
    for chapter in read_chapters(root):
        link = f"notebooks/{chapter.name}.ipynb"
        rooms = "; ".join(
            f"{room}: {', '.join(f'[{module}]({_place(root, room, module)})' for module in used)}"
            for room, used in modules(root, chapter.name).items()
        )
        shows.append(f"| [{chapter.number}. {chapter.title}]({link}) | {chapter.promise} |")
        uses.append(f"| [{chapter.number}. {chapter.title}](../{link}) | {rooms} |")
    files = {root / "README.md": shows, root / "companion" / "README.md": uses}
    return {path: _between(path, "\n".join(lines)) for path, lines in files.items()}


def _place(root: Path, room: str, module: str) -> str:
    return f"{room}/{module}" + (".py" if (root / "companion" / room / f"{module}.py").is_file() else "")


def _between(path: Path, table: str) -> str:
    """Return a file's text with another table between its two marks."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for path, text in tables(Path()).items():
        path.write_text(text, encoding="utf-8")
