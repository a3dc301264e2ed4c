"""Why a program was kept or dropped, in words, from the history alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tasks.history.database import Database

Row = dict[str, Any]

_BEFORE = "SELECT max(score) AS best FROM programs WHERE run_id = ? AND outcome = 'scored' AND generation < ?"
_ISLAND = """
SELECT max(p.score) AS best, count(DISTINCT p.program_id) AS programs
FROM population AS l JOIN programs AS p USING (run_id, program_id)
WHERE l.run_id = ? AND l.island = ? AND l.from_generation < ? AND coalesce(l.to_generation, 2147483647) >= ?
"""
_STAYS = """
SELECT l.*, (
    SELECT count(*) FROM population AS o
    WHERE o.run_id = l.run_id AND o.island = l.island AND o.cluster = l.cluster
    AND o.from_generation <= l.from_generation
    AND coalesce(o.to_generation, 2147483647) > l.from_generation
) AS alike
FROM population AS l WHERE l.run_id = ? AND l.program_id = ? ORDER BY l.from_generation, l.island
"""
_PARENTS = "SELECT program_id, score FROM programs WHERE run_id = ? AND list_contains(?, program_id) ORDER BY score"
_TWIN = """
SELECT program_id, generation, outcome, score FROM programs
WHERE run_id = ? AND code_hash = ? AND outcome <> 'duplicate' ORDER BY generation, index LIMIT 1
"""
_CHILDREN = """
SELECT count(*) AS children, count(*) FILTER (outcome = 'scored') AS scored, max(score) AS best
FROM programs WHERE run_id = ? AND list_contains(parent_ids, ?)
"""
_FINALS = """
SELECT night, best_program_id = $2 AS chosen, unnest(list_filter(finalists, lambda one: one.program_id = $2)) AS place,
    list_bool_or(list_transform(finalists, lambda one: one.validation IS NOT NULL)) AS validated,
    list_bool_or(list_transform(finalists, lambda one: one.held_out IS NOT NULL)) AS held_out
FROM nights WHERE run_id = $1 ORDER BY night
"""

_OUTCOMES = {
    "unparsable": "Dropped before it was run: the answer holds no program",
    "rejected": "Dropped by a rule",
    "crashed": "Dropped: it crashed",
    "timed_out": "Dropped: it took too long",
    "out_of_memory": "Dropped: it took too much memory",
    "output_limit": "Dropped: it printed too much",
    "bad_score": "Dropped: what it gave is no score",
    "sandbox_error": "Not judged, by a fault of the sandbox that does not count against it",
}


def explain(database: Database, row: Row) -> list[str]:
    """Sentences on where a program comes from, what became of it, and what came of it.

    Args:
        database: The history.
        row: Of the program, as in `programs`.
    """
    told = [_origin(database, row), *_outcome(database, row)]
    if row["outcome"] == "scored":
        told += [*_stays(database, row), _children(database, row), *_finals(database, row)]
    return told


def _one(database: Database, sql: str, *parameters: Any) -> Row:
    return next(iter(database.rows(sql, list(parameters))), {})


def _origin(database: Database, row: Row) -> str:
    if not row["generation"]:
        return "It is the start program."
    parents = database.rows(_PARENTS, [row["run_id"], row["parent_ids"] or []])
    shown = " and ".join(f"{one['program_id']} (score {one['score']:.6g})" for one in parents) or "no program"
    return (
        f"Asked of {row['model']} in generation {row['generation']}, on island {row['island']}, "
        f"by a prompt that showed {shown}."
    )


def _outcome(database: Database, row: Row) -> list[str]:
    special: dict[str, Callable[[Database, Row], list[str]]] = {
        "scored": _scored,
        "duplicate": _duplicate,
        "unconfirmed": _unconfirmed,
    }
    if row["outcome"] in special:
        return special[row["outcome"]](database, row)
    return [f"{_OUTCOMES[row['outcome']]}: {row['error'].strip() or 'nothing more is known'}"]


def _scored(database: Database, row: Row) -> list[str]:
    told = [f"It ran on every training input and scored {row['score']:.6g}."]
    if row["confirmed_score"] is not None:
        told.append(f"Run again in a fresh container, it scored {row['confirmed_score']:.6g}: confirmed.")
    before = _one(database, _BEFORE, row["run_id"], row["generation"]).get("best")
    if before is not None:
        told.append(f"The best of the run before its generation: {before:.6g}, so it was {_beside(row, before)}.")
    return told


def _beside(row: Row, other: float) -> str:
    if math.isclose(row["score"], other, rel_tol=1e-12):
        return "as good"
    return f"{'better' if row['score'] > other else 'worse'} by {abs(row['score'] - other):.6g}"


def _duplicate(database: Database, row: Row) -> list[str]:
    twin = _one(database, _TWIN, row["run_id"], row["code_hash"])
    if not twin:
        return [f"Dropped without being run: {row['error']}."]
    score = "" if twin["score"] is None else f" with score {twin['score']:.6g}"
    return [
        f"Dropped without being run: it differs at most in layout from {twin['program_id']}, which was "
        f"{twin['outcome']}{score} in generation {twin['generation']}."
    ]


def _unconfirmed(database: Database, row: Row) -> list[str]:
    told = [f"Dropped: it would have been the best of its island, but its score did not come again. {row['error']}"]
    island = _island(database, row)
    return [*told, f"The best of the island was {island['best']:.6g}."] if island.get("best") is not None else told


def _island(database: Database, row: Row) -> Row:
    return _one(database, _ISLAND, row["run_id"], row["island"], row["generation"], row["generation"])


def _stays(database: Database, row: Row) -> list[str]:
    stays = database.rows(_STAYS, [row["run_id"], row["program_id"]])
    if not stays:
        return ["Kept, but on no island."]
    if not row["generation"]:
        return [f"It was the first program on all {len({one['island'] for one in stays})} islands."]
    island = _island(database, row)
    told = [_joined(stays[0])]
    if island.get("best") is not None and stays[0]["event"] == "joined":
        told.append(f"The best there before: {island['best']:.6g}, among {island['programs']}.")
    return told + [_joined(stay) for stay in stays[1:]]


def _joined(stay: Row) -> str:
    company = f"with {stay['alike'] - 1} more of the same scores on every input" if stay["alike"] > 1 else "alone"
    how = "Kept: it joined" if stay["event"] == "joined" else "It founded anew"
    until = stay["to_generation"]
    end = "It is there still" if until is None else f"The island was reset at the end of generation {until}"
    when = f" at the end of generation {stay['from_generation']}" if stay["event"] != "joined" else ""
    return f"{how} island {stay['island']}{when}, in cluster {stay['cluster']}, {company}. {end}."


def _children(database: Database, row: Row) -> str:
    found = _one(database, _CHILDREN, row["run_id"], row["program_id"])
    if not found["children"]:
        return "No prompt that was answered has shown it."
    best = "" if found["best"] is None else f", the best with {found['best']:.6g}"
    return f"Shown in the prompts of {found['children']} candidates, of which {found['scored']} have a score{best}."


def _finals(database: Database, row: Row) -> list[str]:
    told = []
    for final in database.rows(_FINALS, [row["run_id"], row["program_id"]]):
        place = final["place"]
        scores = [f"{name.replace('_', '-')} {place[name]:.6g}" for name in place if isinstance(place[name], float)]
        tried = {"validation": final["validated"], "held_out": final["held_out"] and final["chosen"]}
        scores += [
            f"{name.replace('_', '-')} none, it fails there" for name in tried if tried[name] and place[name] is None
        ]
        by = "" if place.get("validation") is None else ", by its score on the validation inputs"
        verdict = f"chosen as the best of the run{by}" if final["chosen"] else f"another was chosen{by}"
        told.append(f"In the final of night {final['night']}: {', '.join(scores)}; {verdict}.")
    return told
