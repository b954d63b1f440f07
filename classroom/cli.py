"""The command ``companion``: release an exercise set, grade a class, lay out a learner's workbook."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands and return its exit status: 1 after an error, which a line on stderr names."""
    options = _parser().parse_args(arguments)
    try:
        return options.do(options)
    except ModuleNotFoundError as error:
        print(f'companion {options.command} needs {error.name}: pip install -e ".[course]"', file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"companion {options.command}: {error}", file=sys.stderr)
    return 1


def workbook(options: argparse.Namespace) -> int:
    """Lay out a learner's copies, and print a line for each that was kept."""
    from classroom.authoring.workbook import lay_out

    report = lay_out(CHECKOUT / "notebooks", options.to)
    count = Counter(laid.status for laid in report)
    print(f"{options.to}: {len(report)} notebooks, {count['added']} added, {count['renewed']} renewed")
    for laid in report:
        if laid.status == "kept":
            print(f"{laid.path}: kept, since you edited it; for the book's version, rename yours and repeat this")
    return 0


def release(options: argparse.Namespace) -> int:
    """Write student versions; if one set fails, the others are written all the same."""
    from classroom.authoring.release import write_student_version
    from classroom.authoring.sets import read_set, set_names

    names = set_names(options.source) if options.all else options.sets
    if not names:
        raise ValueError(f"name a set, or --all; there are: {', '.join(set_names(options.source)) or 'none'}")
    failed = 0
    for name in names:
        try:
            exercises = read_set(name, options.source)
            path = (options.to if options.flat else options.to / exercises.name) / f"{exercises.name}.ipynb"
            print(f"{path}: {write_student_version(exercises, path, options.force)}")
        except (ValueError, OSError) as error:
            print(f"companion release: {error}", file=sys.stderr)
            failed = 1
    return failed


def grade(options: argparse.Namespace) -> int:
    """Grade a class; a submission that cannot be graded has its line in the report, and is no error."""
    from classroom.grading.whole_class import grade_class
    from classroom.sandbox.limits import Limits

    limits = Limits(seconds=options.seconds, seconds_in_all=options.minutes * 60, memory=int(options.memory * 2**30))
    where = {"out": options.to, "exercises": options.set, "sets": options.source}
    grade_class(options.folder, **where, limits=limits, jobs=options.jobs, isolation=options.isolation)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="companion", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("release", help="make student versions of exercise sets")
    command.add_argument("sets", nargs="*", metavar="SET", help="01_batch_norm, or the start of a name")
    command.add_argument("--all", action="store_true", help="every set")
    command.add_argument("--source", type=Path, help="folder of sets, in place of notebooks/solutions")
    command.add_argument("--to", type=Path, default=Path("release"), help="default: release/, a folder for each set")
    command.add_argument("--flat", action="store_true", help="no folder for each set")
    command.add_argument("--force", action="store_true", help="replace a student version that was edited")
    command.set_defaults(do=release)

    command = commands.add_parser("grade", help="grade a folder of submissions")
    command.add_argument("folder", type=Path, metavar="DIR", help="STUDENT.ipynb, STUDENT/… or STUDENT/SET/…")
    command.add_argument("--set", help="the set; by default the one that the submissions belong to")
    command.add_argument("--source", type=Path, help="folder of sets, in place of notebooks/solutions")
    command.add_argument("--to", type=Path, help="gradebook, feedback and CSV; default: DIR-graded")
    command.add_argument("--jobs", type=int, default=2, help="submissions at a time (2)")
    command.add_argument("--seconds", type=float, default=60, help="for one cell (60)")
    command.add_argument("--minutes", type=float, default=5, help="for one notebook (5)")
    command.add_argument("--memory", type=float, default=2, help="GB for one notebook (2)")
    how = ["required", "auto", "none"]
    command.add_argument("--isolation", choices=how, default="auto", help="whether bubblewrap must be there (auto)")
    command.set_defaults(do=grade)

    command = commands.add_parser("workbook", help="lay out copies of chapters and exercises to work in")
    command.add_argument("to", nargs="?", type=Path, default=Path("workbook"), help="default: workbook/")
    command.set_defaults(do=workbook)
    return parser


if __name__ == "__main__":
    sys.exit(main())
