"""Contents of the executed chapters: claims, their criteria, and which version of its code measured them."""

import ast
import hashlib
import json
from pathlib import Path

MIME = "application/vnd.udl-companion.claim+json"


def chapters(folder: Path) -> dict[str, list[dict]]:
    """Return the cells of every chapter in ``folder``, by the chapter's name."""
    paths = sorted(Path(folder).glob("[0-9]*.ipynb"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))["cells"] for path in paths}


def version(cells: list[dict]) -> str:
    """Return a digest of what a chapter's code does, whatever its text, its comments, its layout and its questions."""
    tree = ast.parse("\n".join(_source(cell) for cell in cells if cell["cell_type"] == "code"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    return digest([ast.dump(statement) for statement in tree.body if not _is_question(statement)])


def _is_question(statement: ast.stmt) -> bool:
    """Return True for a statement that only shows a question to the reader, ``companion.Prediction(…)``."""
    call = getattr(statement, "value", None)
    return isinstance(call, ast.Call) and ast.unparse(call.func) in ("companion.Prediction", "companion.Guesses")


def parameters(cells: list[dict]) -> dict[str, object]:
    """Return the parameters of a chapter that are plain values or ranges, by name."""
    found = {}
    for cell in cells:
        if "parameters" not in cell.get("metadata", {}).get("tags", []):
            continue
        for node in ast.parse(_source(cell)).body:
            if isinstance(node, ast.Assign):
                names = {"__builtins__": {}, "list": list, "range": range}
                found[node.targets[0].id] = eval(compile(ast.Expression(node.value), "parameters", "eval"), names)
    return found


def stored_claims(cells: list[dict]) -> list[dict]:
    """Return the claims in a chapter's stored outputs."""
    data = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    return [bundle[MIME] for bundle in data if MIME in bundle]


def criteria(folder: Path) -> dict[tuple, dict]:
    """Return every criterion that the chapters state, by claim, quantity and, where one comes twice, number."""
    found = {}
    for name, cells in chapters(folder).items():
        for claim in stored_claims(cells):
            for part in claim["evidence"]:
                if part["criterion"] and not part.get("rule"):
                    raise ValueError(f"{name} stores no rule for claim {claim['id']}: run make notebooks")
                if part["criterion"]:
                    rule = {**part["rule"], "n": len(part["values"]), "unit": part["over"]}
                    line = {"id": claim["id"], "quantity": part["quantity"], **rule}
                    found[free_key(found, line)] = {**line, "chapter": name, "met": part["met"]}
    return found


def free_key(taken: dict, line: dict) -> tuple:
    """Return the key of a line: claim, quantity, and a number where the claim measures the same twice."""
    place = 0
    while (key := (line["id"], line["quantity"], place)) in taken:
        place += 1
    return key


def digest(value) -> str:
    """Return twelve hexadecimal digits that change when a value of plain data does."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def in_words(line: dict) -> str:
    """Return a rule as a reader would say it, such as ``≥ 5, each of 20 seeds``."""
    bounds = line["bound"] if isinstance(line["bound"], list) else [line["bound"]]
    rule = f"{line['comparator']} {' and '.join(f'{bound:g}' for bound in bounds)}"
    if line["n"] == 1:
        return rule
    return f"{'mean ' if line['of'] == 'mean' else ''}{rule}, {line['of']} of {line['n']} {line['unit']}"


def seeds_text(seeds: list[int]) -> str:
    """Return a list of seeds as ``100:105`` where they follow one another."""
    if seeds and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}:{seeds[-1] + 1}"
    return ",".join(map(str, seeds))


def seeds_of(text: str) -> list[int]:
    """Return the seeds that a text such as ``1000:1020`` or ``3,5,8`` names."""
    first, colon, last = text.partition(":")
    try:
        seeds = list(range(int(first), int(last))) if colon else [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must read like 1000:1020 (the last is left out) or 3,5,8, but got {text!r}")
    return seeds


def _source(cell: dict) -> str:
    return "".join(cell["source"])
