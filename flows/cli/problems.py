"""`overnight problems`: list the built-in problems."""

from __future__ import annotations

from flows.cli.printing import DEFAULT_HISTORY, History, OutputFormat, out, say, score, table, write_json


def problems(*, format: OutputFormat = "text", history: History = DEFAULT_HISTORY) -> None:  # noqa: A002
    """List the built-in problems with their best known scores, and your own best from the history."""
    from tasks.history.database import Database
    from tasks.problems import find, names
    from tasks.problems.loading.load import load_problem

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
