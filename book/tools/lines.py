"""Print the lines of code of each room, without blank lines, comments and docstrings.

``python book/tools/lines.py``
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("companion", "classroom")
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# A string is found first, so that what looks like a comment in one stays.
STRING_OR_COMMENT = re.compile(
    r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|/\*.*?\*/|//[^\n]*""", re.S
)


def python_lines(source: str) -> set[int]:
    """Return the numbers of the lines that hold code."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | DEFINITIONS) and ast.get_docstring(node) is not None:
            found.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function and its lines of code, decorators included."""
    lines = python_lines(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield node.name, len(lines & set(range(first, node.end_lineno + 1)))


def script_lines(source: str) -> int:
    """Return the number of lines that hold code, in JavaScript or CSS."""
    code = STRING_OR_COMMENT.sub(lambda match: match[1] or "", source)
    return sum(bool(line.strip()) for line in code.splitlines())


def count(path: Path) -> int:
    """Return the number of lines of code in a file."""
    source = path.read_text(encoding="utf-8")
    return len(python_lines(source)) if path.suffix == ".py" else script_lines(source)


def total(*rooms: str, suffix: str = ".py") -> int:
    """Return the lines of code of these rooms, such as ``companion/norms``, in files of one kind."""
    return sum(count(path) for room in rooms for path in (ROOT / room).rglob(f"*{suffix}"))


def main() -> None:
    """Print a row for each room."""
    print(f"{'':22}{'Python':>8}{'JS':>8}{'CSS':>8}")
    for package in PACKAGES:
        rooms = sorted(path for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__")
        for room in [*rooms, ROOT / package]:
            name = str(room.relative_to(ROOT))
            kinds = [total(name, suffix=suffix) for suffix in (".py", ".js", ".css")]
            print(f"{name:22}" + "".join(f"{number or '':>8}" for number in kinds))


if __name__ == "__main__":
    main()
