"""Explains in sentences why a program was kept or dropped, from the history alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from overnight.flows.formatting import score as score_text
from overnight.schemas.interventions import DROPPED
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import RESCORED
from overnight.tasks.history.database import Database

Row = dict[str, Any]

_BEFORE = """
SELECT max(score) AS best FROM programs WHERE run_id = ? AND outcome = 'scored' AND (place, index) < (?, ?)
"""
_NICHE = """
SELECT max(p.score) AS best, count(DISTINCT p.program_id) AS programs
FROM population AS l JOIN programs AS p USING (run_id, program_id)
WHERE l.run_id = ? AND l.niche = ? AND l.from_place < ? AND coalesce(l.to_place, 2147483647) >= ?
"""
_MEMBERSHIPS = """
SELECT l.*, (
    SELECT count(*) FROM population AS o
    WHERE o.run_id = l.run_id AND o.niche = l.niche AND o.cluster = l.cluster
    AND o.from_place <= l.from_place
    AND coalesce(o.to_place, 2147483647) > l.from_place
) AS cluster_size
FROM population AS l WHERE l.run_id = ? AND l.program_id = ? ORDER BY l.from_place, l.niche
"""
_PARENTS = """
SELECT program_id, outcome, score FROM programs WHERE run_id = ? AND list_contains(?, program_id) ORDER BY score
"""
_ORIGINAL = """
SELECT program_id, generation, outcome, score FROM programs
WHERE run_id = ? AND code_hash = ? AND outcome <> 'duplicate' ORDER BY place, index LIMIT 1
"""
_CHILDREN = """
SELECT count(*) AS children, count(*) FILTER (outcome = 'scored') AS scored, max(score) AS best
FROM programs WHERE run_id = ? AND list_contains(parent_ids, ?)
"""
_FINALS = """
SELECT night, best_program_id = $2 AS chosen, unnest(list_filter(finalists, lambda f: f.program_id = $2)) AS finalist,
    list_bool_or(list_transform(finalists, lambda f: f.validation IS NOT NULL)) AS validated,
    list_bool_or(list_transform(finalists, lambda f: f.held_out IS NOT NULL)) AS held_out
FROM nights WHERE run_id = $1 ORDER BY night
"""


def explain(database: Database, row: Row) -> list[str]:
    """Return sentences on a program's origin, its outcome, its niches, its children and its final evaluations."""
    sentences = [_origin(database, row), *_outcome(database, row)]
    if row["outcome"] == "scored":
        sentences += [*_memberships(database, row), _children(database, row), *_finals(database, row)]
    return sentences


def _first_row(database: Database, sql: str, *parameters: Any) -> Row:
    return next(iter(database.rows(sql, list(parameters))), {})


def _origin(database: Database, row: Row) -> str:
    if not row["generation"]:
        return "It is the start program."
    if row["finish_reason"] == RESCORED:
        return f"Taken from an earlier run and scored again; it was {' '.join(row['parent_ids'])} there."
    parents = database.rows(_PARENTS, [row["run_id"], row["parent_ids"] or []])
    if row["operator"] == Operator.PRUNE:
        return _pruned(row, parents[0] if parents else {})
    shown = " and ".join(f"{parent['program_id']} ({_result(parent)})" for parent in parents) or "no program"
    return (
        f"Proposed by {row['model']} in generation {row['generation']}, in niche {row['niche']}, "
        f"in answer to a prompt that showed {shown}."
    )


def _pruned(row: Row, parent: Row) -> str:
    _, _, said = (row["idea"] or "nothing could go").rpartition(": ")
    return (
        f"What is left of {parent.get('program_id', 'another program')}, the best of night {row['night']}, without "
        f"what no score needs on the training and validation inputs: {said}, by {row['evaluations']} evaluations. "
        f"`overnight show {row['program_id']} --diff` shows what was left out."
    )


def _result(row: Row) -> str:
    return row["outcome"] if row["score"] is None else f"score {score_text(row['score'])}"


def _outcome(database: Database, row: Row) -> list[str]:
    special: dict[str, Callable[[Database, Row], list[str]]] = {
        "scored": _scored,
        "duplicate": _duplicate,
        "unconfirmed": _unconfirmed,
    }
    if row["outcome"] in special:
        return special[row["outcome"]](database, row)
    return [f"{Outcome(row['outcome']).facts.explanation}: {row['error'].strip() or 'no details are recorded'}"]


def _scored(database: Database, row: Row) -> list[str]:
    sentences = [f"{Outcome.SCORED.facts.explanation} {score_text(row['score'])}."]
    if row["confirmed_score"] is not None:
        sentences.append(f"Run again in a fresh container, it scored {score_text(row['confirmed_score'])}: confirmed.")
    before = _first_row(database, _BEFORE, row["run_id"], row["place"], row["index"]).get("best")
    if before is not None:
        comparison = _compared_with(row, before)
        sentences.append(f"The best of the run before it scored {score_text(before)}, so it was {comparison}.")
    return sentences


def _compared_with(row: Row, other: float) -> str:
    if math.isclose(row["score"], other, rel_tol=1e-12):
        return "as good"
    return f"{'better' if row['score'] > other else 'worse'} by {score_text(abs(row['score'] - other))}"


def _duplicate(database: Database, row: Row) -> list[str]:
    original = row["code_hash"] and _first_row(database, _ORIGINAL, row["run_id"], row["code_hash"])
    if not original:
        return [f"{Outcome.DUPLICATE.facts.explanation}: {row['error']}."]
    score = "" if original["score"] is None else f", score {score_text(original['score'])}"
    return [
        f"{Outcome.DUPLICATE.facts.explanation}: it differs at most in form from {original['program_id']} of "
        f"generation {original['generation']} (outcome {original['outcome']}{score})."
    ]


def _unconfirmed(database: Database, row: Row) -> list[str]:
    if row["error"].startswith(DROPPED):
        return [f"Dropped: {row['error']}."]
    sentences = [f"{Outcome.UNCONFIRMED.facts.explanation}. {row['error']}"]
    niche = _niche_before(database, row)
    if niche.get("best") is not None:
        sentences.append(f"The best score of the niche was {score_text(niche['best'])}.")
    return sentences


def _niche_before(database: Database, row: Row) -> Row:
    """Return the best score and the number of programs of the program's niche before its generation."""
    return _first_row(database, _NICHE, row["run_id"], row["niche"], row["place"], row["place"])


def _memberships(database: Database, row: Row) -> list[str]:
    memberships = database.rows(_MEMBERSHIPS, [row["run_id"], row["program_id"]])
    if not memberships:
        return ["Kept, but in no niche."]
    if not row["generation"]:
        return [f"It was the first program in all {len({stay['niche'] for stay in memberships})} niches."]
    niche = _niche_before(database, row)
    first, *later = memberships
    sentences = [_membership(first)]
    if niche.get("best") is not None and first["event"] == "joined":
        programs = "1 program" if niche["programs"] == 1 else f"{niche['programs']} programs"
        sentences.append(f"Before it joined, the niche's best score was {score_text(niche['best'])}, among {programs}.")
    return sentences + [_membership(stay) for stay in later]


def _membership(stay: Row) -> str:
    others = stay["cluster_size"] - 1
    company = f"with {others} more of the same score on every input" if others > 0 else "alone"
    if stay["event"] == "joined":
        start = f"Kept: it joined niche {stay['niche']}"
    else:
        start = f"Copied to niche {stay['niche']} when it was reset at the end of generation {stay['from_generation']}"
    until = stay["to_generation"]
    end = "It is still there" if until is None else f"The niche was reset at the end of generation {until}"
    return f"{start}, in cluster {stay['cluster']}, {company}. {end}."


def _children(database: Database, row: Row) -> str:
    children = _first_row(database, _CHILDREN, row["run_id"], row["program_id"])
    if not children["children"]:
        return "No candidate comes from a prompt that showed it."
    best = "" if children["best"] is None else f"; the best of them has {score_text(children['best'])}"
    return (
        f"Candidates from prompts that showed it: {children['children']}, of these with a score: "
        f"{children['scored']}{best}."
    )


def _finals(database: Database, row: Row) -> list[str]:
    sentences = []
    for final in database.rows(_FINALS, [row["run_id"], row["program_id"]]):
        finalist = final["finalist"]
        scores = [f"{_split(name)} {score_text(value)}" for name, value in finalist.items() if isinstance(value, float)]
        was_run = {"validation": final["validated"], "held_out": final["held_out"] and final["chosen"]}
        failed = [name for name in was_run if was_run[name] and finalist[name] is None]
        scores += [f"{_split(name)} none, it fails there" for name in failed]
        reason = "" if finalist.get("validation") is None else ", by the scores on the validation inputs"
        choice = "it was chosen as the best of the run" if final["chosen"] else "another program was chosen"
        sentences.append(f"In the final evaluation of night {final['night']}: {', '.join(scores)}; {choice}{reason}.")
    return sentences


def _split(column: str) -> str:
    return column.replace("_", "-")
