"""Descriptions of the views and macros over the history, its public interface, and the cookbook of their SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from overnight.schemas import tables


@dataclass(frozen=True)
class View:
    """Description of a view: of its rows, and of each column by its name, in order."""

    description: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Macro:
    """Description of a table macro: its name and parameters, and the rows that it returns."""

    call: str
    description: str


def _columns(table: str) -> dict[str, str]:
    """Return the meaning of each column of a table, by name."""
    return {name: comment for name, _, comment in tables.describe(tables.ALL[table])}


_PROGRAMS = _columns("programs")

_UNKNOWN = "whether the price of an answer among them is unknown"

VIEWS = {
    "costs": View(
        "what was paid, one row per run, generation, night, model and purpose, also for generations that are not "
        "committed; all other costs are sums of it",
        {
            "run_id": "id of the run",
            "generation": "number of the generation that the answers are kept with",
            "night": "night in which they came; 0 outside of nights",
            "model": "LiteLLM model string of the model that answered; null if an older version did not keep it",
            "purpose": "`sample`; `turn` of an agent; `question` of the scoring; `unused`: a sample or a turn that no "
            "program of its committed generation has",
            "tokens_in": "prompt tokens",
            "tokens_out": "completion tokens",
            "tokens_cached": "prompt tokens among `tokens_in` that were read from a cache",
            "cost_usd": "price, USD; unknown prices count as 0; null if none is known",
            "unpriced": "number of answers without a known price",
        },
    ),
    "runs": View(
        "one row per run: settings, specification, seed, versions, and totals over its generations",
        _columns("runs")
        | {
            "generations": "number of the last committed generation",
            "samples": "number of samples of all generations",
            "cost_usd": "price of all in `costs`, USD: of all nights, and of what was asked before the first; unknown "
            "prices count as 0",
            "best_score": "score of the best program after the last generation",
            "best_program_id": "that program",
            "start_score": "score of the start program, or the best of the first generation with one",
            "ended_at": "end of the last generation",
            "has_unknown_costs": _UNKNOWN,
        },
    ),
    "nights": View(
        "one row per night: start, end, generations, samples, cost, scores of the finalists on each split, and why it "
        "stopped",
        _columns("nights")
        | {
            "seen_at": "its end; of a night under way or killed, its last commit",
            "state": "`ended`; `running`; `killed`: it has no end, and the next night has begun, or `alive_until` is "
            "past and no process of this machine has it under way, be it stopped or its disk full; or `given up`: a "
            "scheduled night that was killed, and that nobody goes on with",
            "has_unknown_costs": _UNKNOWN,
        },
    ),
    "generations": View(
        "one row per attempt at a generation: committed, failed and tried again, or given up; times, counts by "
        "outcome, best score, cost, Prefect's flow-run id, and why it failed",
        _columns("generations")
        | {
            "cost_usd": "price of all in `paid`, USD; of one that is not committed, what was paid for it counts "
            "for the last attempt at it; unknown prices count as 0",
            "samples_so_far": "number of samples of the run up to its end; null for a failed attempt",
            "cost_so_far_usd": "price of the committed generations up to it, USD; null for a failed attempt",
        },
    ),
    "winners": View(
        "one row per run and night: the best program at its end, as `overnight best` names it; the last row of a run "
        "has its best program now",
        {
            "run_id": "id of the run",
            "night": "number of the night, from 1; 0 is the start of the run",
            "program_id": "the winner of the last final evaluation, or a later program with a better score",
            "train": "its score on the training inputs",
            "validation": "its score on the validation inputs; null if it has none",
            "held_out": "its score on the held-out inputs; null if it has none",
            "chosen_in": "night whose final evaluation chose it; null if its score on the training inputs did",
        },
    ),
    "programs": View(
        "one row per candidate, scored or not: prompt, completion, body, outcome, scores, seconds, memory, tokens, "
        "and cost",
        _PROGRAMS
        | {
            "proposer": "who wrote it: `prompt` for a model that answered one, else `tuner`, `pruner`, or the "
            "beginning of the model's name, such as `agent` or `relay`; null for the start program and for programs "
            "of another run",
            "sample": "number of the sample in the run, from 1, by place; that of the last one before it for an answer "
            "of the tuner; 0 is the start program, and one that a run began with",
            "night": "number of the night, from 1",
            "best_parent_score": "best score of the programs shown in the prompt; null if none was shown",
            "is_record": "whether its score is above those of all programs before it, the start program's too",
            "place": "position of its generation in the order in which generations ended, from 0: a retried one comes "
            "later than its number says",
        },
    ),
    "population": View(
        "one row per stay of a program in a niche: its cluster, and its first and last generation there",
        {
            "run_id": "id of the run",
            "program_id": "id of the program",
            "cluster": _columns("population")["cluster"],
            "event": "`joined`: the program was registered in the niche; `founded`: it is the first one after the "
            "niche was emptied",
            "from_generation": "generation in which the program joined",
            "to_generation": "generation at whose end the niche was reset; null if the program is still there",
            "niche": _columns("population")["niche"],
            "from_place": "place of from_generation in the order in which generations ended, from 0: a retried one "
            "comes later than its number says",
            "to_place": "place of to_generation. The program is alive after the generation with place p if "
            "from_place <= p, and to_place is null or > p",
        },
    ),
    "scores": View(
        "one row per program and training input, for programs that are scored or fell below a threshold; `state` is "
        "`scored` or `skipped`",
        {
            "run_id": _PROGRAMS["run_id"],
            "generation": _PROGRAMS["generation"],
            "program_id": _PROGRAMS["program_id"],
            "input": "position of the input, from 1",
            "score": "score on the input; null if it was skipped",
            "state": "`scored`, or `skipped`: the program fell below the threshold on an earlier input",
            "note": "what the scoring says of the input; null if nothing",
        },
    ),
    "program_metrics": View(
        "one row per program, training input and metric, for inputs on which the program got a score",
        {
            "run_id": _PROGRAMS["run_id"],
            "generation": _PROGRAMS["generation"],
            "program_id": _PROGRAMS["program_id"],
            "metric": "name of the metric",
            "input": "position of the input, from 1",
            "value": "the metric on the input; null if the scoring gave none there",
        },
    ),
    "interventions": View(
        "one row per hint, pin, withdrawal or drop that people asked for, and what came of it",
        _columns("interventions")
        | {
            "samples": "number of answers to prompts with the hint or the pinned base",
            "scored": "number of them that have a score",
            "gain": "mean of what they gained on their bases, as `gain` of `programs`",
            "best_score": "best score among them",
        },
    ),
    "questions": View(
        "one row per question that the scoring asked a model, with the answer",
        _columns("questions") | {"program_id": "first program of the run with its code_hash; null if there is none"},
    ),
    "front": View(
        "one row per scored program that no other one of its run dominates, as good in the score and all "
        "`objectives.metrics` and better in one; of equal ones the first; none where a problem has no objectives",
        {
            "run_id": _PROGRAMS["run_id"],
            "program_id": _PROGRAMS["program_id"],
            "generation": _PROGRAMS["generation"],
            "score": _PROGRAMS["score"],
            "metrics": _PROGRAMS["metrics"],
            "is_confirmed": "whether its score, and so its metrics, were confirmed",
        },
    ),
    "machines": View(
        "one row per run, night and machine that evaluated programs of it, or lost them",
        {
            "run_id": _PROGRAMS["run_id"],
            "night": _columns("nights")["night"],
            "machine": "name of the machine of a cluster; null for the machine of the night",
            "candidates": "number of candidates that it evaluated",
            "scored": "number of them that have a score",
            "sandbox_errors": "number that could not be evaluated, through no fault of theirs",
            "faults": "how often it lost a program, which was then evaluated elsewhere, or could not be used at all",
            "wall_s": "wall-clock seconds of all of them together",
            "median_wall_s": "median wall-clock seconds of those that have a score",
            "mean_wall_s": "mean wall-clock seconds of all of them",
            "per_minute": "candidates per minute, from the start of its first generation to the end of its last",
            "first_at": "end of the first generation with one of them",
            "last_at": "end of the last",
        },
    ),
}

MACROS = {
    "best_programs": Macro(
        "best_programs(run, how_many := 10)", "the best programs of a run, one row per distinct body, best first"
    ),
    "progress": Macro(
        "progress(run)",
        "best score over samples, cost and time, one row per committed generation, by place; `progress()` has all runs",
    ),
    "improvements": Macro("improvements(run)", "the programs that raised the best score, one after the other"),
    "failures": Macro("failures(run)", "kinds of errors: how often, of which models, and the last example"),
    "ideas": Macro(
        "ideas(run)", "what models say that they changed: how often, how many scored, and the best score and gain"
    ),
    "lineage": Macro("lineage(program)", "a program and all its ancestors, the program first"),
    "descendants": Macro("descendants(program)", "a program and all its descendants, the program first"),
    "cost_by_model": Macro(
        "cost_by_model()",
        "samples, tokens, cost and best score of each model, one row per run and model, as `costs` has it: also of "
        "judges, of the models of agents, and of answers that no program has",
    ),
    "outcomes_by_model": Macro("outcomes_by_model()", "number of candidates, one row per run, model and outcome"),
    "niches_over_time": Macro(
        "niches_over_time(run)",
        "state of each niche at the end of each generation: programs, clusters, best score, and whether it was "
        "emptied and founded anew then",
    ),
    "duplicates": Macro(
        "duplicates(run)", "bodies that were proposed more than once: number of times, first program, and its outcome"
    ),
}


def cookbook() -> str:
    """Return the whole cookbook: each question is a comment, followed by its SQL."""
    return files("overnight.schemas.sql").joinpath("cookbook.sql").read_text(encoding="utf-8")


def cookbook_questions() -> dict[str, str]:
    """Return the SQL of each question, by question."""
    found = {}
    for block in cookbook().split("\n\n"):
        lines = block.strip().splitlines()
        comments = [line for line in lines if line.startswith("-- ")]
        if len(comments) < len(lines):
            question = " ".join(line.removeprefix("-- ") for line in comments)
            found[question] = "\n".join(lines[len(comments) :]).rstrip(";")
    return found
