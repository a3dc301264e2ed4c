"""`overnight problems`, `algorithms`, `init` and `prompt`: what there is to search, and a file to begin with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from overnight.flows.cli import options
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
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
from overnight.schemas import plugins
from overnight.schemas.algorithm_settings import algorithm_kinds
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Model
from overnight.tasks.problems import TEMPLATE, find, find_builtin, names
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.notebook import specifications_in
from overnight.tasks.sample.provider import own_provider


def problems(*, format: OutputFormat = "text", history: History = DEFAULT_HISTORY) -> None:  # noqa: A002
    """List the built-in problems with their best known scores, and your own best from the history."""
    from overnight.tasks.history.database import Database

    own = {
        row["problem"]: row["best"]
        for row in Database(history.root).rows("SELECT problem, max(best_score) AS best FROM runs GROUP BY problem")
    }
    rows, facts = [], []
    for name in names():
        settings = load_problem(find(name)).settings
        facts.append(
            {
                "problem": name,
                "title": settings.title,
                "origin": settings.origin,
                "score": settings.score_name,
                "known": settings.known.model_dump(mode="json"),
                "your_best": own.get(name),
            }
        )
        known = settings.known
        best_known = f"{score(known.best)}!" if known.proven else score(known.best)
        scores = (score(known.start), score(known.honesty), best_known)
        rows.append((name, settings.title, settings.origin, *scores, known.label, score(own.get(name))))
    if format == "json":
        write_json(facts)
        return
    columns = ("problem", "title", "from", "start", "without a model", "best known", "by", "yours")
    right = ("start", "without a model", "best known", "yours")
    out().print(table(columns, rows, right=right, spare=("by", "title", "start", "without a model")))
    say("from: where the problem is posed; by: who holds the best known score; yours: on the training inputs")
    say("start a run: overnight run NAME; higher scores are better; ! marks a proven optimum")


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
