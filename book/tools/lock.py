"""The file ``claims.lock``: read, written, compared with the chapters, and what a command may change in it.

A line is *exploratory* until a replication on at least ten seeds that nobody had seen when it was written gives
the outcome that the chapter states; then it is *confirmatory*. *Withdrawn* lines stay, for their history.
"""

import json
from pathlib import Path

from stored import chapters, digest, free_key, in_words, seeds_of, seeds_text, stored_claims, version

RULE = ("comparator", "bound", "of", "n", "unit")
FEWEST = 10  # seeds that a replication must have to confirm a line


def read(path: Path) -> list[dict]:
    """Return the lines of the lock at ``path``; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def write(path: Path, lines: list[dict]) -> None:
    """Write the lock: a head that says how many lines there are, and the lines, each with its digest."""
    lines = sorted(lines, key=lambda line: (line["id"], line["status"] == "withdrawn"))
    lines = [{**_body(line), "digest": digest(_body(line))} for line in lines]
    head = {"lines": len(lines), "digest": digest([line["digest"] for line in lines])}
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in [head, *lines])
    path.write_text(text + "\n", encoding="utf-8")


def tampered(path: Path) -> list[str]:
    """Return a complaint for every trace of an edit by hand."""
    lines = read(path)
    if not path.exists():
        return [f"{path.name} is missing: get it back from git, or run make claims"]
    wrong = [line for line in lines if line.get("digest") != digest(_body(line))]
    edited = [f"{path.name}: the line of {_name(line)} was edited by hand: get it back from git" for line in wrong]
    head = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    if head != {"lines": len(lines), "digest": digest([line.get("digest") for line in lines])} and not edited:
        edited.append(
            f"{path.name}: its head knows {head.get('lines')} lines, there are {len(lines)}: "
            "a line was deleted, added or moved by hand; get it back from git"
        )
    return edited


def by_key(lines: list[dict]) -> dict[tuple, dict]:
    """Return the lines that still count, by claim, quantity and number."""
    found = {}
    for line in lines:
        if line["status"] != "withdrawn":
            found[free_key(found, line)] = line
    return found


def _body(line: dict) -> dict:
    return {name: value for name, value in line.items() if name != "digest"}


def _name(line: dict) -> str:
    return f"{line['id']}, {line['quantity']!r}"


def _rule(line: dict) -> dict:
    return {name: line[name] for name in RULE}


def extended(lines: list[dict], *others: list[dict]) -> list[dict]:
    """Return the lines of a lock, and from others those of chapters that it does not know, as after a merge."""
    for other in others:
        known = {line["id"][:2] for line in lines}
        lines = lines + [line for line in other if line["id"][:2] not in known]
    return lines


def differences(lines: list[dict], stated: dict[tuple, dict]) -> list[str]:
    """Return a complaint for every criterion that chapters and lock do not share."""
    known, found = by_key(lines), []
    for key, line in stated.items():
        if key not in known:
            found.append(f"{_name(line)}: has no line in claims.lock: run make claims")
        elif known[key]["status"] == "open":
            found.append(f"{_name(line)}: its line in claims.lock is open: run make claims")
        elif _rule(known[key]) != _rule(line):
            found.append(
                f"{_name(line)}: the chapter asks {in_words(line)}, but claims.lock holds {in_words(known[key])}: "
                f"put it back, or open it first: make claims OPEN={line['id']} REASON=…"
            )
    for key in known.keys() - stated.keys():
        name = _name(known[key])
        found.append(f"{name}: is in claims.lock, but no chapter states it: make claims OPEN={key[0]} REASON=…")
    return found


def stale(replication: dict, folder: Path, allow_new: bool = False) -> list[str]:
    """Return a complaint for every chapter whose replication is missing, of another version, short or broken off.

    A chapter that was never replicated may be new: with ``allow_new`` its claims may wait, as exploratory ones.
    """
    found = []
    for name, cells in chapters(folder).items():
        ids, run = {claim["id"] for claim in stored_claims(cells)}, replication.get("chapters", {}).get(name)
        advice = f"make replicate CHAPTERS={name[:2]}"
        if not ids:
            continue
        if run is None:
            found += [] if allow_new else [f"{name}: was never replicated: {advice}"]
            continue
        if run["version"] != version(cells):
            found.append(f"{name}: its replication is of another version of the chapter: {advice}")
        if len(run["seeds"]) < FEWEST:
            found.append(f"{name}: was replicated on {len(run['seeds'])} seeds, fewer than {FEWEST}: {advice}")
        if ids != {claim["id"] for claim in run["claims"]}:
            absent = ids ^ {claim["id"] for claim in run["claims"]}
            found.append(
                f"{name}: chapter and replication do not share the claims {', '.join(sorted(absent))}: {advice}"
            )
    gone = replication.get("chapters", {}).keys() - chapters(folder).keys()
    return found + [f"{name}: is in the replication, but there is no such chapter" for name in sorted(gone)]


def opened(lines: list[dict], ids: list[str], reason: str, today: str) -> list[dict]:
    """Return the lines with those of some claims open: their criteria may change, and the reason is kept."""
    unknown = sorted(set(ids) - {line["id"] for line in lines})
    if unknown or not reason.strip():
        raise ValueError(f"no line of {', '.join(unknown)}" if unknown else "a change needs a reason: REASON='…'")
    why = {"date": today, "reason": reason}
    free = {"exploratory", "confirmatory"}
    return [
        {**line, "status": "open", "was": line["status"], "why": why}
        if line["id"] in ids and line["status"] in free
        else line
        for line in lines
    ]


def settled(lines: list[dict], stated: dict[tuple, dict], start: dict[str, dict]) -> list[dict]:
    """Return the lines brought into step: new ones added, open ones closed with their history.

    ``start`` holds for each chapter where a line that begins today begins: commit, date, and seeds already seen.
    """
    known, result = by_key(lines), [line for line in lines if line["status"] == "withdrawn"]
    for key, line in known.items():
        if key in stated and line["status"] == "open":
            result.append(_closed(line, stated[key], start[stated[key]["chapter"]]))
        elif line["status"] == "open":
            result.append({**_historic(line), "status": "withdrawn"})
        else:
            result.append(line)
    for key, row in stated.items():
        if key not in known:
            seen = [text for line in lines if line["id"] == row["id"] for text in line["seen"]]
            begun = start[row["chapter"]]
            fresh = {"status": "exploratory", **begun, "seen": sorted({*seen, *begun["seen"]})}
            result.append({"id": row["id"], "quantity": row["quantity"], **_rule(row), **fresh})
    return result


def _closed(line: dict, row: dict, begun: dict) -> dict:
    """An open line after its chapter ran: as before if nothing changed, else exploratory, with one more old rule."""
    if _rule(line) == _rule(row):
        return {name: value for name, value in {**line, "status": line["was"]}.items() if name not in ("was", "why")}
    seen = sorted({*line["seen"], *begun["seen"]})
    kept = {name: value for name, value in _historic(line).items() if name != "tested"}
    return {
        **kept,
        **_rule(row),
        "status": "exploratory",
        "commit": begun["commit"],
        "date": begun["date"],
        "seen": seen,
    }


def _historic(line: dict) -> dict:
    """A line with its present rule moved into its history."""
    old = {"rule": in_words(line), "status": line["was"], "since": line["date"], **line["why"]}
    kept = {name: value for name, value in line.items() if name not in ("was", "why")}
    return {**kept, "history": [*line.get("history", []), old]}


def tested(lines: list[dict], stated: dict[tuple, dict], replication: dict, versions: dict[str, str]) -> list[dict]:
    """Return the lines with what a replication on seeds that nobody had seen found of those that are exploratory."""
    outcomes = {}
    for name, run in replication.get("chapters", {}).items():
        if run["version"] == versions.get(name) and len(run["seeds"]) >= FEWEST:
            for claim in run["claims"]:
                for part in filter(lambda part: part["rule"], claim["evidence"]):
                    key = free_key(outcomes, {"id": claim["id"], "quantity": part["quantity"]})
                    outcomes[key] = {
                        "met": part["met"],
                        "seeds": run["seeds"],
                        **{k: run[k] for k in ("commit", "date")},
                    }
    known = by_key(lines)
    for key, line in known.items():
        run = outcomes.get(key)
        if run is None or line["status"] != "exploratory" or key not in stated or not _unseen(line, run["seeds"]):
            continue
        text = seeds_text(run["seeds"])
        same = run["met"] == stated[key]["met"]
        line |= {"status": "confirmatory" if same else "exploratory", "seen": [*line["seen"], text]}
        line["tested"] = {"commit": run["commit"], "date": run["date"], "seeds": text, "met": run["met"]}
    return lines


def _unseen(line: dict, seeds: list[int]) -> bool:
    return not any(set(seeds) & set(seeds_of(text)) for text in line["seen"])
