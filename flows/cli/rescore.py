"""`overnight rescore`: the kept programs of a run under a changed specification, other inputs or settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flows.cli.options import TrustSettings, overrides
from flows.cli.printing import DEFAULT_HISTORY, History, history_flag, out, say, score, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.rescore import Rescored
    from schemas.generation import RunRecord
    from schemas.problem import Problem

_SHOWN = 20
_EVERY = 100


def rescore(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    problem: Annotated[str | None, Parameter(help="the changed specification; by default the run's own")] = None,
    /,
    *,
    inputs: Annotated[str | None, Parameter(help="training inputs as JSON, in place of the specification's")] = None,
    set: Annotated[list[str] | None, Parameter(help="any setting, as key=value; repeatable")] = None,  # noqa: A002
    confirm: Annotated[
        Literal["never", "best", "always"] | None,
        Parameter(help="which programs are run again, split, in a fresh container, before their score counts"),
    ] = None,
    most: Annotated[int, Parameter(help="how many programs; the islands take turns, each with its best")] = 500,
    seed: Annotated[int | None, Parameter(help="of the new run; default: the old one's")] = None,
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Score the kept programs of a run anew, as the beginning of a new run; the old one stays as it is."""
    from flows.images import image_of
    from flows.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    if most < 1:
        raise UsageError(f"--most takes a number from 1, got {most}")
    files = find_run(history, run)
    given = overrides(None, None, None, inputs, set, confirm=confirm)
    changed, path = _changed(record.read_run(files), problem, given)
    accept(changed, given, trust=trust_settings)
    image_of(changed, say)
    from flows.rescore import rescore as score_anew

    done = score_anew(files, changed, path, history, seed=seed, most=most, report=_counter())
    _tell(done, files.run_id, history)


def _changed(run: RunRecord, name: str | None, given: dict[str, Any]) -> tuple[Problem, Path]:
    """The changed problem, and where it was read."""
    from flows.origin import problem_path
    from schemas.problem import reload_problem, with_overrides
    from tasks.problems import find

    if name is None:
        path = problem_path(run)
        return with_overrides(run.problem, path, given), path
    path = find(name)
    return reload_problem(path, run.problem, given), path


def _counter() -> Any:
    judged = 0

    def count(_: Any) -> None:
        nonlocal judged
        judged += 1
        if judged % _EVERY == 0:
            say(f"{judged} programs scored")

    return count


def _tell(done: Rescored, old: str, history: Path) -> None:
    ranked = sorted(done.pairs, key=lambda pair: (pair[1].score is not None, pair[1].score or 0.0), reverse=True)
    places = {was.id: place for place, (was, _) in enumerate(done.pairs, start=1)}
    rows = [
        (str(place), str(places[was.id]), one.id, was.id, score(one.score), score(was.score), one.verdict.outcome.value)
        for place, (was, one) in enumerate(ranked[:_SHOWN], start=1)
    ]
    columns = ("place", "was", "program", "was", "score", "was", "outcome")
    out().print(table(columns, rows, right=("place", "score")))
    new, scored = done.files.run_id, sum(one.score is not None for _, one in done.pairs)
    of = f" of {done.kept} that {old} has kept (--most N for more)" if done.kept > len(done.pairs) else ""
    say(f"{new}: {len(done.pairs)} programs{of}, {scored} scored; the start program scores {score(done.start.score)}")
    place = history_flag(history)
    say(f"go on    overnight resume {new}{place}\nlook     overnight best {new}{place}")
