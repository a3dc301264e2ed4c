"""`overnight compact`: looking after what is kept."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli.text import DEFAULT_HISTORY, History, say
from schemas.errors import RunIsBusy


def compact(
    run: Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`; by default all")] = None,
    /,
    *,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Put the files of all generations of a run together, so that questions are answered faster. Nothing is lost."""
    from tasks.history.compact import compact as put_together
    from tasks.history.files import find_run, runs_in

    for files in runs_in(history) if run is None else [find_run(history, run)]:
        try:
            with files.locked():
                merged = put_together(files, least=1)
        except RunIsBusy as error:
            if run is not None:
                raise
            say(f"{files.run_id}: left alone: {error.message}")
            continue
        say(f"{files.run_id}: {f'{merged} folders became one' if merged else 'nothing to do'}")
