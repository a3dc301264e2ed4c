"""`overnight problems`, `algorithms`, `init` and `prompt`: what there is to search, and a file to begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from overnight.flows.cli import options
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    count,
    out,
    say,
    say_notes,
    score,
    table,
    write_json,
    write_new,
    write_text,
)
from overnight.flows.cli.show import find_program
from overnight.flows.formatting import scores_beside
from overnight.schemas import plugins
from overnight.schemas.algorithm_settings import algorithm_kinds
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Model
from overnight.tasks.problems import TEMPLATE, find, find_builtin, names, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.notebook import specifications_in
from overnight.tasks.sample.provider import own_provider


def problems(
    name: str | None = None,
    /,
    *,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """List the built-in problems with their best known scores, what recorded nights found, and your own best.

    Args:
        name: the only problem, with its sources and its recorded night
    """
    shown = [find_builtin(name)] if name else [find_builtin(one) for one in names()]
    own = _own_bests(history)
    facts = [_facts(load_problem(path), own) for path in shown]
    if format == "json":
        write_json(facts[0] if name else facts)
    elif name:
        _print_problem(facts[0])
    else:
        _print_problems(facts)


def _own_bests(history: HistoryBackend) -> dict[str, float]:
    """Return the best score of each problem in a history, without those of recorded nights."""
    from overnight.tasks.history.database import Database

    query = "SELECT problem, max(best_score) AS best FROM runs WHERE NOT list_contains(?, run_id) GROUP BY problem"
    nights = [night.run_id for night in recorded.nights().values()]
    return {row["problem"]: row["best"] for row in Database(history.root).rows(query, [nights])}


def _facts(problem: Problem, own: Mapping[str, float]) -> dict[str, Any]:
    """Return what is told of a built-in problem; `found` is null if it has no recorded night."""
    settings = problem.settings
    night = recorded.nights().get(problem.name)
    note = recorded.note(problem.name)
    return {
        "problem": problem.name,
        "title": settings.title,
        "origin": settings.origin,
        "score": settings.score_name,
        "known": settings.known.model_dump(mode="json"),
        "found": {**night.model_dump(mode="json"), "note": note} if night else None,
        "your_best": own.get(problem.name),
    }


def _print_problems(facts: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for one in facts:
        known = one["known"]
        start, line = score(known["start"]), score(known["honesty"])
        scores = (start, line, *_best_and_found(one))
        rows.append((one["problem"], one["title"], one["origin"], *scores, known["label"], score(one["your_best"])))
    columns = ("problem", "title", "from", "start", "without a model", "best known", "found", "by", "yours")
    right = ("start", "without a model", "best known", "found", "yours")
    out().print(table(columns, rows, right=right, spare=("by", "title", "start", "without a model")))
    say("from: where the problem is posed; by: who holds the best known score; yours: on the training inputs")
    say("found: by the recorded night, which overnight import NAME brings in; more: overnight problems NAME")
    say("start a run: overnight run NAME; higher scores are better; ! marks a proven optimum")


def _best_and_found(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return the best known score and the one that the recorded night found, with enough digits to tell them apart."""
    best, found = scores_beside(facts["known"]["best"], facts["found"] and facts["found"]["found"])
    return (f"{best}!" if facts["known"]["proven"] else best), found


def _print_problem(facts: Mapping[str, Any]) -> None:
    """Print one problem, a line for each fact."""
    known, night = facts["known"], facts["found"]
    best, found = _best_and_found(facts)
    source = ", ".join(filter(None, (known["label"], known["source"], known["date"])))
    lines = {
        "problem": f"{facts['problem']}: {facts['title']}",
        "from": facts["origin"],
        "score": facts["score"],
        "start": score(known["start"]),
        "without a model": f"{score(known['honesty'])}, {known['honesty_label']}",
        "best known": f"{best}, {source}",
        "found": found,
    }
    if night:
        answers = f"after {night['found_after']} of {count(night['answers'], 'answer')} of {', '.join(night['models'])}"
        lines["found"] = f"{found}, {answers}"
        if night["found_held_out"] is not None:
            lines["held out"] = f"{score(night['found_held_out'])}, from {score(night['start_held_out'])}"
    if night and night["note"]:
        lines["note"] = night["note"]
    for title, text in {**lines, "yours": score(facts["your_best"])}.items():
        write_text(f"{title:<16} {text}")
    if night:
        say(f"read the recorded night, query, replay and continue it: overnight import {facts['problem']}")
    say(f"start a run: overnight run {facts['problem']}")


def algorithms(*, format: OutputFormat = "text") -> None:  # noqa: A002
    """List the search algorithms, what each does, and the paper or system that it is from."""
    default, *_ = kinds = algorithm_kinds()
    found = [(kind.algorithm_name(), kind is default, kind.summary(), kind.source) for kind in kinds]
    ours = {kind.algorithm_name() for kind in kinds}
    # The code of a plug-in that is not named is not imported, so its package's description stands for its own.
    installed = [plugin for plugin in plugins.installed() if plugin.kind == "algorithms" and plugin.name not in ours]
    found += [(plugin.name, False, plugin.summary, f"plug-in: {plugin.release}") for plugin in installed]
    if format == "json":
        names = ("algorithm", "is_default", "summary", "source")
        write_json([dict(zip(names, each, strict=True)) for each in found])
        return
    rows = [(name, "yes" if is_default else "", *rest) for name, is_default, *rest in found]
    out().print(table(("algorithm", "default", "what it does", "source"), rows, spare=("source",)))
    say("choose one: overnight run PROBLEM --set search.algorithm=NAME; its settings are in schemas/README.md")


def init(
    file: Path,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
) -> None:
    """Write a commented example specification to start from, a copy of a built-in problem, or those of a notebook.

    Args:
        file: new file NAME.py, or a folder to write to, created if needed
        from_: built-in problem to copy, a name from `overnight problems`; or a notebook NAME.ipynb, whose
            specifications are written as files
    """
    if from_ is not None and from_.endswith(".ipynb"):
        _write_notebook(file, Path(from_))
        return
    source = TEMPLATE if from_ is None else find_builtin(from_)
    target = file if file.suffix == ".py" else file / source.name
    write_new(target, source.read_text(encoding="utf-8"))
    say(f"wrote {target}; check that it runs, and what it uses:")
    say(f"  overnight check {target}")
    say(f"  overnight run {target} --generations 10")


def _write_notebook(file: Path, notebook: Path) -> None:
    """Write the specifications in a notebook: the first under the given or the notebook's name, others numbered."""
    first = file if file.suffix == ".py" else file / f"{notebook.stem}.py"
    texts = specifications_in(notebook)
    targets = [first, *(first.with_stem(f"{first.stem}_{number}") for number in range(2, len(texts) + 1))]
    for target, text in zip(targets, texts, strict=True):
        write_new(target, text)
        say(f"wrote {target}; write its inputs into its `# /// script` block, then check it:")
        say(f"  overnight check {target}")


def prompt(
    problem: options.ProblemName | None = None,
    /,
    *,
    of: str | None = None,
    model: options.ModelNames = None,
    api_base: options.ApiBase = None,
    style: options.Style = None,
    inputs: options.Inputs = None,
    set: options.Sets = None,  # noqa: A002
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """Print the first prompt of a run, which shows the start program; nothing is run, and no model is asked.

    Without a model, it is the prompt that a chat model would be sent. With --of PROGRAM, it is the one that made a
    program of the history.

    Args:
        model: model that would be sent it, as for `overnight run`
        of: program id: print the very prompt that it answers, in place of a first prompt
    """
    if (problem is None) == (of is None):
        raise UsageError(
            "expected a problem, or a program with --of",
            remedy="overnight prompt PROBLEM, or overnight prompt --of PROGRAM",
        )
    if of is not None:
        _print_prompt_of(history, of, format)
        return
    assert problem is not None
    from overnight.tasks.sample.probe import build_probe_prompts

    settings = options.RunOptions(model=model, api_base=api_base, style=style, inputs=inputs, set=set)
    loaded = load_problem(find(problem), settings.settings())
    say_notes(loaded)
    chosen = _model(loaded)
    (shown,) = build_probe_prompts(_with_one_parent(loaded), chosen, 1)
    say(f"what {chosen.name} would be sent first: {len(shown.whole_text):,} characters")
    if loaded.settings.known.start is None and shown.system:
        say(
            "note: the problem declares no score of its start program (known.start), so 0 stands for it here; "
            "a run scores it first"
        )
    if format == "json":
        write_text(json.dumps(shown.messages if shown.style == "chat" else [{"prompt": shown.text}], indent=1))
    else:
        write_text(shown.whole_text)


def _print_prompt_of(history: HistoryBackend, program: str, style: OutputFormat) -> None:
    """Print the prompt that a program answers."""
    from overnight.tasks.history.database import Database

    row = find_program(Database(history.root), program)
    if not row["prompt"]:
        raise UsageError(
            f"no model was asked for {row['program_id']}",
            remedy=f"overnight show {row['program_id']} says where it is from.",
        )
    say(f"what {row['asked_model'] or row['model']} was sent: {len(row['prompt']):,} characters")
    write_text(json.dumps(row["prompt"]) if style == "json" else row["prompt"])


def _model(problem: Problem) -> Model:
    """Return the first model; in place of the built-in one, some chat model."""
    first = problem.settings.sampling.models[0]
    return first.model_copy(update={"name": "a chat model", "style": "chat"}) if own_provider(first.name) else first


def _with_one_parent(problem: Problem) -> Problem:
    """Return the problem with one program in each prompt, as in the first prompts of a run."""
    search = problem.settings.search
    algorithm = search.algorithm.model_copy(update={"parents": 1})
    settings = problem.settings.model_copy(update={"search": search.model_copy(update={"algorithm": algorithm})})
    return replace(problem, settings=settings)
