"""Everything that is known of each claim, side by side: its chapter, its lock, unseen seeds, the paper's own number."""

import json
from pathlib import Path

from claims import load_replication
from intervals import describe, holm
from lock import read
from stored import chapters, seeds_text, stored_claims, version

FAILS = "does not hold here"


def collect(folder: Path) -> list[dict]:
    """Return all claims stored in the chapters in ``folder``, by id, each with its chapter's file name and title."""
    claims = {}
    for name, cells in chapters(folder).items():
        lines = (line for cell in cells for line in "".join(cell["source"]).splitlines())
        title = next(line for line in lines if line.startswith("# ")).removeprefix("# ")
        for claim in stored_claims(cells):
            if claim["id"] in claims:
                raise ValueError(f"claim {claim['id']} is stored twice, the second time in {name}.ipynb")
            claims[claim["id"]] = {**claim, "chapter": f"{name}.ipynb", "title": title}
    return [claims[key] for key in sorted(claims)]


def rows(root: Path) -> list[dict]:
    """Return every claim with all that is known of it; what fails comes first, then what was changed."""
    lines = read(root / "claims.lock")
    runs = load_replication(root / "pages" / "replication.json").get("chapters", {})
    printed = root / "pages" / "published.json"
    published = json.loads(printed.read_text(encoding="utf-8")) if printed.exists() else {}
    current = {name: version(cells) for name, cells in chapters(root / "notebooks").items()}
    found = []
    for claim in collect(root / "notebooks"):
        name = Path(claim["chapter"]).stem
        run = runs.get(name) if runs.get(name, {}).get("version") == current[name] else None
        again = next((other for other in run["claims"] if other["id"] == claim["id"]), None) if run else None
        locked = [line for line in lines if line["id"] == claim["id"]]
        row = _row(claim, again, run, locked)
        found.append({**row, "published": published.get(claim["id"])})
    order = {"failed": 0, "changed": 1, "rest": 2}
    return sorted(found, key=lambda row: (order[row["part"]], row["id"]))


def _row(claim: dict, again: dict | None, run: dict | None, locked: list[dict]) -> dict:
    """A claim beside its replication and its lines in the lock."""
    verdict = again["verdict"] if again else claim["verdict"]
    history = [old for line in locked for old in line.get("history", [])]
    states = {line["status"] for line in locked} - {"withdrawn"}
    kinds = sorted(states - {"confirmatory"}) or ["confirmatory"] if states else ["no criterion"]
    part = "failed" if FAILS in (verdict, claim["verdict"]) else "changed" if history else "rest"
    said, taken = [], list(again["evidence"]) if again else []
    for piece in claim["evidence"]:
        same = next((other for other in taken if other["quantity"] == piece["quantity"]), None)
        if same:
            taken.remove(same)  # a claim may measure two things of one name
        said.append({**piece, **_unseen(same)})
    about = (
        {key: run[key] for key in ("seeds", "commit", "date", "machine", "packages", "seconds", "errors")}
        if run
        else None
    )
    kept = {key: claim[key] for key in ("id", "statement", "source", "chapter", "title")}
    outcome = {"on_page": claim["verdict"], "verdict": verdict, "status": kinds[0], "part": part, "history": history}
    return {**kept, **outcome, "evidence": said, "replication": about}


def _unseen(part: dict | None) -> dict:
    """Return the values of one quantity on unseen seeds, what follows from them, and both in words."""
    if part is None:
        return {"unseen": None}
    said = describe([float(value) for value in part["values"]], part["rule"], part["tie"])
    return {"unseen": words(said, part), "unseen_values": part["values"], "said": said, "met_unseen": part["met"]}


def words(said: dict, part: dict) -> str:
    """Return what values say of a rule, as a reader would."""
    count = f"{said['n']} {part['over']}"
    if said["n"] == 1:
        return f"{said['mean']:.3g}" if said["finite"] else "not finite"
    if said.get("rounding"):
        return f"at most {said['largest']:.2g}; {said['met']} of {count} keep it"
    text = f"{said['mean']:.3g}" if said["finite"] else "none finite"
    if "mean_interval" in said:
        text += " ({:.3g} to {:.3g})".format(*said["mean_interval"])
    if part["rule"] is None:
        return f"{text}, {count}"
    text += f"; {said['met']} of {count} keep it ({percent(said['met_interval'])})"
    if said.get("ahead") is not None and said["ahead"] != said["met"]:
        text += f"; ahead in {said['ahead']} ({percent(said['ahead_interval'])})"
    if part["rule"]["of"] == "each" and said["met"] == said["n"]:
        text += f"; by a coin's toss, 1 in {2 ** said['n']:,}"
    return text


def _command(seeds: str, runs: dict[str, dict]) -> str:
    """The command that ran chapters on these seeds; it names them if others ran on others."""
    numbers = sorted(chapter[:2] for chapter, run in runs.items() if seeds_text(run["seeds"]) == seeds)
    return f"make replicate SEEDS={seeds}" + (f' CHAPTERS="{" ".join(numbers)}"' if len(numbers) < len(runs) else "")


def _runs(runs: list[dict]) -> list[str]:
    """A sentence for each day and environment: at which commits chapters were run there."""
    commits = {}
    for run in runs:
        commits.setdefault((run["date"], _made_with(run)), set()).add(run["commit"])
    return [
        f"Run on {date}, at commit {', '.join(sorted(at))}: {made}." for (date, made), at in sorted(commits.items())
    ]


def _made_with(run: dict) -> str:
    """The kind of machine and the packages of a run."""
    return ", ".join([run["machine"], *(f"{name} {number}" for name, number in run["packages"].items())])


def percent(interval: tuple[float, float]) -> str:
    """Return an interval of a share as per cent."""
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def overview(claims: list[dict]) -> list[str]:
    """Return the sentences that stand above the tables: what was run, what came out again, what is beyond chance."""
    runs = {claim["chapter"]: claim["replication"] for claim in claims if claim["replication"]}
    if not runs:
        return ["No chapter has been run again on unseen seeds yet: make replicate."]
    tried = [part for claim in claims for part in claim["evidence"] if part["rule"] and part["unseen"]]
    again = sum(part["met"] == part["met_unseen"] for part in tried)
    sure = [claim for claim in claims if claim["status"] == "confirmatory"]
    noisy = [part["said"]["p"] for claim in sure for part in claim["evidence"] if "p" in part.get("said", {})]
    beyond = sum(value < 0.05 for value in holm(noisy))
    lists = sorted({seeds_text(run["seeds"]) for run in runs.values()})
    commands = [_command(seeds, runs) for seeds in lists]
    minutes = sum(run["seconds"] for run in runs.values()) / 60
    broken = [f"{chapter}: {error}" for chapter, run in runs.items() for error in run["errors"]]
    return [
        f"{' and '.join(commands)} ran {len(runs)} chapters again, in {minutes:.1f} minutes of all cores together.",
        f"{again} of {len(tried)} criteria came out there as on the chapters' pages.",
        f"{len(sure)} of {len(claims)} claims are confirmatory: seeds that nobody had seen gave the stated outcome.",
        f"Of their {len(noisy)} criteria about noisy quantities, {beyond} are met beyond chance: p < 0.05 after Holm's "
        "correction for all of them together.",
        *_runs(list(runs.values())),
        *broken,
    ]
