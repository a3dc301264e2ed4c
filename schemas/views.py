"""The views and macros over the history, which are its public interface: what a row is, what each column means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas import tables


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        row: What a row is.
        columns: Meaning of each column by name, in order.
    """

    row: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Macro:
    """One table macro.

    Attributes:
        call: How it is called.
        says: What it answers.
    """

    call: str
    says: str


def _written(table: str) -> dict[str, str]:
    return {name: comment for name, _, comment in tables.describe(tables.ALL[table])}


_PROGRAMS = _written("programs")

VIEWS = {
    "runs": View(
        "a run: settings, specification, seed, versions, and what its generations add up to",
        _written("runs")
        | {
            "generations": "number of the last generation that is committed",
            "samples": "samples of all generations",
            "cost_usd": "price of all completions, USD; unknown prices count as nothing",
            "best_score": "best score after the last generation",
            "best_program_id": "the program that has it",
            "start_score": "score of the start program",
            "ended_at": "end of the last generation",
        },
    ),
    "nights": View(
        "a night: start, end, generations, samples, cost, the finalists on each split, why it stopped",
        _written("nights"),
    ),
    "generations": View(
        "a generation and attempt: times, counts by outcome, best score, cost, Prefect's flow-run id, why it failed",
        _written("generations"),
    ),
    "programs": View(
        "a candidate, scored or not: prompt, completion, body, outcome, scores, seconds, memory, tokens, cost",
        _PROGRAMS,
    ),
    "population": View(
        "a stay of a program in a niche: its cluster, from which generation to which",
        {
            "run_id": "the run",
            "island": _written("population")["island"],
            "program_id": "the program",
            "cluster": _written("population")["cluster"],
            "event": "`joined`: registered in the niche; `founded`: it is the first after the niche was emptied",
            "from_generation": "generation in which it came",
            "to_generation": "generation at whose end the niche was reset; null: it is still there. Alive after "
            "generation g: from_generation <= g, and to_generation is null or > g",
            "niche": "the niche; of islands the number",
        },
    ),
    "scores": View(
        "a program and training input, of programs that are scored or fell below a threshold; `state` is `scored` "
        "or `skipped`",
        {
            "run_id": _PROGRAMS["run_id"],
            "generation": _PROGRAMS["generation"],
            "program_id": _PROGRAMS["program_id"],
            "input": "place of the input, from 1",
            "score": "score on it; null where it was skipped",
            "state": "`scored`, or `skipped`: the program fell below the threshold of an earlier input",
        },
    ),
}

MACROS = {
    "best_programs": Macro(
        "best_programs(run, how_many := 10)", "the best programs of a run, one row a distinct body, best first"
    ),
    "progress": Macro("progress(run)", "score over samples, money and time: one row a committed generation"),
    "lineage": Macro("lineage(program)", "a program and all it descends from, itself first"),
    "descendants": Macro("descendants(program)", "a program and all that descend from it, itself first"),
    "cost_by_model": Macro("cost_by_model()", "what each model cost in each run, and what it gave"),
    "outcomes_by_model": Macro("outcomes_by_model()", "how many candidates of each outcome each model gave, by run"),
    "niches_over_time": Macro(
        "niches_over_time(run)",
        "one row a generation and niche, as it stood at the generation's end: programs, clusters, best score, and "
        "whether it was emptied and founded anew just then",
    ),
    "islands_over_time": Macro("islands_over_time(run)", "the same for runs whose niches are islands, by number"),
    "duplicates": Macro(
        "duplicates(run)", "bodies that were proposed more than once: how often, the first of them, and its outcome"
    ),
}
