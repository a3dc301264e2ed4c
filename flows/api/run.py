"""Runs, their programs and histories as they are seen from Python."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from overnight.flows.api.process import Event, call, command
from overnight.flows.api.program import Program, read_program
from overnight.flows.formatting import score

if TYPE_CHECKING:
    from overnight.schemas.history_backend import HistoryBackend
    from overnight.schemas.report_data import UnderWay
    from overnight.tasks.history.database import Database, Relation

Place = str | os.PathLike[str]
"""Where a history is: a directory, or a URL of object storage such as `s3://bucket/prefix`."""


@dataclass(frozen=True)
class Generation:
    """State of a night when a generation is committed.

    Attributes:
        run_id: Id of the run.
        number: Number of the generation, from 1.
        samples: Samples of this night so far.
        best_score: Best score of the run so far, on the training inputs.
        best_program_id: Program with that score.
        outcomes: Number of this night's candidates by outcome.
        tokens: Tokens of this night so far, prompts and completions together.
        cost_usd: Cost of this night so far, USD.
        has_unknown_costs: Whether the price of a completion is not known, which counts as 0.
    """

    run_id: str
    number: int
    samples: int
    best_score: float
    best_program_id: str
    outcomes: Mapping[str, int]
    tokens: int
    cost_usd: float
    has_unknown_costs: bool


class NightOptions(TypedDict, total=False):
    """Options of one night: flags of `overnight resume` by their names, with `_` for `-`; its `--help` describes them.

    Attributes:
        until: Deadline: `"07:00"`, `"7h30m"`, a time, or a duration.
        on_generation: Called with each generation that is committed.
        on_best: Called with each program that is the best one of the run when a generation is committed.
        progress: Whether progress is shown: in the terminal as the command shows it, in a notebook in place.
    """

    until: str | datetime | timedelta | None
    generations: int | None
    max_samples: int | None
    max_tokens: int | None
    budget: float | None
    total_budget: float | None
    day_budget: float | None
    week_budget: float | None
    month_budget: float | None
    target: float | str | None
    patience: int | None
    grace: float | None
    trust_settings: bool
    notify: str | Sequence[str] | None
    notify_gain: float | None
    cluster: str | None
    pin: str | None
    on_generation: Callable[[Generation], object] | None
    on_best: Callable[[Program], object] | None
    progress: bool


@dataclass(frozen=True)
class Run:
    """A run as it was when it was read; `overnight.load` reads it anew.

    Attributes:
        id: Id of the run.
        history: Its history.
        problem: Title of the problem, or its name.
        seed: Seed of all random choices.
        started_at: Time at which the run was created, UTC.
        generations: Number of the last committed generation.
        samples: Samples of all nights.
        cost_usd: Price of all completions, USD; unknown prices count as 0.
        stop_reason: Why its last night ended; empty if none has ended.
        state: State of its last night: `running`, `ended`, `killed` or `given up`; empty without a night.
        start: The start program, or the first program with a score where there is none.
        best: The best program, as `overnight best` chooses it: by the validation inputs, if there are any.
        under_way: Answers that are not committed yet: `samples`, `scored`, and the best of them as `claim`;
            `is_left_out` if they never will be, as the best score is proven.
    """

    id: str
    history: History
    problem: str
    seed: int
    started_at: datetime
    generations: int
    samples: int
    cost_usd: float
    stop_reason: str
    state: str
    start: Program
    best: Program
    under_way: UnderWay

    def sql(self, query: str) -> Relation:
        """Answer one SELECT over this run alone, with the views of `overnight sql`.

        Returns:
            The rows as a DuckDB relation, which has `fetchall()` and `arrow()`; also `df()` if pandas is installed, and
            `pl()` if polars is.

        Raises:
            QueryError: If the SQL is wrong.
        """
        return self.history.sql(query, run_id=self.id)

    def program(self, program_id: str) -> Program:
        """Return a scored program of the run.

        Raises:
            UsageError: If the run has no scored program with this id.
        """
        with _opened(self.history, self.id) as database:
            return read_program(_backend(self.history), database, self.id, program_id)

    def resume(self, **options: Unpack[NightOptions]) -> Run:
        """Continue the run for another night, and return it as it is then.

        Completions that are paid for are not requested again.

        Raises:
            OvernightError: As the command `overnight resume` fails.
        """
        return run_night("resume", self.id, self.history, options)

    def retry(self, **options: Unpack[NightOptions]) -> Run:
        """Run the generations again that a night has given up, and return the run as it is then.

        Raises:
            OvernightError: As the command `overnight retry` fails.
        """
        return run_night("retry", self.id, self.history, options)

    def hint(
        self, text: str = "", *, pin: str | None = None, prompts: int | None = None, withdraw: bool = False
    ) -> None:
        """Tell the search what to try, also while a night is under way elsewhere, as `overnight hint` does.

        Args:
            text: What the model is told.
            pin: Id of a program that prompts build on, in place of a text.
            prompts: Number of prompts that it is for; by default 20.
            withdraw: Whether all hints and pins of the run end, in place of a text.

        Raises:
            UsageError: If none of them or several are given, or there is no such program.
        """
        flags = {"pin": pin, "prompts": prompts, "withdraw": withdraw, "history": self.history.place}
        call(command("hint", self.id, *([text] if text else []), flags=flags))

    def drop(self, program_id: str, *, why: str = "", descendants: bool = False) -> Run:
        """Take a program out that cheats, as `overnight drop` does; return the run as it is then.

        Args:
            program_id: Its id.
            why: Reason, for the history and the report.
            descendants: Whether what was built on it, and what will be, is dropped, too.

        Raises:
            UsageError: If the run has no such scored program, or it is the start program.
        """
        flags = {"why": why or None, "descendants": descendants, "history": self.history.place}
        call(command("drop", self.id, program_id, flags=flags))
        return self.history.load(self.id)

    def report(self, path: Place | None = None) -> Path:
        """Write the morning report, one self-contained HTML file, and return its path.

        A file that is there is replaced; by default it is `report-RUN.html` in the working directory.
        """
        written = Path(path or f"report-{self.id}.html")
        call(command("report", self.id, flags={"write": written, "history": self.history.place}))
        return written.resolve()

    def write_best(self, path: Place, *, unchecked: bool = False) -> Path:
        """Evaluate the best program once more, write the specification with it to a new file, and return its path.

        Args:
            path: File to write; a folder if several files evolve; a file `.svg` gets a picture of what it does.
            unchecked: Whether it is written without being evaluated again.

        Raises:
            OvernightError: If something is there already, or no finalist gets a score now.
        """
        flags = {"write": path, "unchecked": unchecked, "history": self.history.place}
        call(command("best", self.id, flags=flags))
        return Path(path).resolve()

    def _repr_html_(self) -> str:
        """Return the run for a notebook: a sentence, its curve, and the best program."""
        from overnight.flows.api import notebook

        start, best = score(self.start.score), score(self.best.score)
        result = f"no better than {start}" if self.best.score == self.start.score else f"{best} from {start}"
        held_out = "" if self.best.held_out is None else f", held out {score(self.best.held_out)}"
        sentence = f"{self.problem}: {result}{held_out}, after {self.samples} samples in {self.generations} generations"
        return notebook.run_as_html(self.id, sentence, self.sql(notebook.STEPS).fetchall(), self.best.code)


@dataclass(frozen=True)
class History:
    """The Parquet files of all runs in one place.

    Attributes:
        place: A directory, or a URL of object storage such as `s3://bucket/prefix`.
    """

    place: str

    def runs(self) -> list[Run]:
        """Return the runs, newest first."""
        with _opened(self) as database:
            ids = database.rows("SELECT run_id FROM runs ORDER BY started_at DESC, run_id DESC")
            return _read(self, database, [row["run_id"] for row in ids])

    def load(self, run: str = "last") -> Run:
        """Return a run.

        Args:
            run: Its id, a unique prefix of one, `last`, or the name of a problem for its last run.

        Raises:
            UsageError: If there is no such run.
        """
        from overnight.tasks.history.find_run import find_run

        run_id = find_run(_backend(self), run).run_id
        with _opened(self, run_id) as database:
            return _read(self, database, [run_id])[0]

    def sql(self, query: str, *, run_id: str | None = None) -> Relation:
        """Answer one SELECT over the history, or one run of it, with the views of `overnight sql`.

        Raises:
            QueryError: If the SQL is wrong.
        """
        with _opened(self, run_id) as database:
            return database.relation(query)


def _backend(history: History) -> HistoryBackend:
    """Return the backend that keeps a history's files, brought up to date."""
    from overnight.tasks.history import backends

    backend = backends.open_history(history.place)
    backend.refresh()
    return backend


@contextlib.contextmanager
def _opened(history: History, run_id: str | None = None) -> Iterator[Database]:
    """Open a history's files for queries, brought up to date."""
    from overnight.tasks.history.database import Database

    with contextlib.closing(Database(_backend(history).root, run_id)) as database:
        yield database


def open_history(place: Place | None = None) -> History:
    """Return the history of a place: by default that of OVERNIGHT_HISTORY, or the folder `history`."""
    return History(os.fspath(place or os.environ.get("OVERNIGHT_HISTORY") or "history"))


def load(run: str = "last", *, history: Place | None = None) -> Run:
    """Return a run of a history, as `History.load` does; by default of OVERNIGHT_HISTORY, or the folder `history`."""
    return open_history(history).load(run)


def run_night(name: str, argument: str, history: History, options: Mapping[str, Any]) -> Run:
    """Run a command that runs a night, with `NightOptions` and further flags; return the run as it is then."""
    from overnight.flows.api.notebook import progress_view

    flags = dict(options)
    on_generation, on_best = flags.pop("on_generation", None), flags.pop("on_best", None)
    shows_progress = flags.pop("progress", True)
    view = progress_view() if shows_progress else None
    run_id, best_id = argument, ""

    def on_event(event: Event) -> None:
        nonlocal run_id, best_id
        run_id = event.get("run_id", run_id)
        if view:
            view(event)
        if event["event"] != "generation":
            return
        if on_generation:
            facts = {name: event[name] for name in Generation.__dataclass_fields__ if name != "number"}
            on_generation(Generation(number=event["generation"], **facts))
        if on_best and event["best_program_id"] != best_id:
            with _opened(history, run_id) as database:
                on_best(read_program(_backend(history), database, run_id, event["best_program_id"]))
        best_id = event["best_program_id"]

    words = command(name, argument, flags={**flags, "format": "json", "history": history.place})
    call(words, on_event, shows_messages=shows_progress and view is None)
    return history.load(run_id)


_RUN = """
SELECT problem, title, seed, started_at, coalesce(generations, 0) AS generations, coalesce(samples, 0) AS samples,
    best_score, coalesce(cost_usd, 0.0) AS cost_usd, (
        SELECT arg_max(stop_reason, night) FROM nights WHERE nights.run_id = runs.run_id AND stop_reason IS NOT NULL
    ) AS stop_reason, (
        SELECT arg_max(state, night) FROM nights WHERE nights.run_id = runs.run_id
    ) AS state, (
        SELECT arg_min(best_program_id, place) FROM generations
        WHERE generations.run_id = runs.run_id AND best_score IS NOT NULL
    ) AS start_id
FROM runs WHERE run_id = ?
"""


def _read(history: History, database: Database, run_ids: Sequence[str]) -> list[Run]:
    """Return runs as their files are now."""
    from overnight.tasks.history import files, under_way, winners

    backend = _backend(history)
    best = winners.best_programs(database)
    rows = [database.rows(_RUN, [run_id])[0] for run_id in run_ids]
    return [
        Run(
            id=run_id,
            history=history,
            problem=row["title"] or row["problem"],
            start=read_program(backend, database, run_id, row["start_id"]),
            best=read_program(backend, database, run_id, best[run_id].program_id),
            stop_reason=row["stop_reason"] or "",
            state=row["state"] or "",
            under_way=under_way.read_under_way(files.files_of(backend, run_id), row["best_score"]),
            **{name: row[name] for name in ("seed", "started_at", "generations", "samples", "cost_usd")},
        )
        for run_id, row in zip(run_ids, rows, strict=True)
    ]
