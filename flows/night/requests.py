"""Take what people ask for into the history: at a place of the run's own order, which is recorded before it counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from overnight.flows.night.interventions import dropped_with
from overnight.flows.night.rebuild import rebuild
from overnight.schemas.algorithm import Turn
from overnight.schemas.errors import EnvironmentFault, HistoryError, RunIsBusy
from overnight.schemas.generation import RunHistory, RunRecord
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.program import QUESTION
from overnight.tasks.history import stored_run
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import add_request, pending_requests, read_interventions, write_interventions
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.run_lock import locked_here, run_lock

_LOOK_AGAIN_S = 10.0
"""Seconds after which requests are tried again that could not be recorded."""


@dataclass
class NewRequests:
    """What people ask of a run while its night is under way."""

    files: RunFiles
    _bytes: int = 0
    _again_at: float = 0.0

    def take(
        self, record: Callable[[Sequence[Intervention]], list[Intervention]]
    ) -> tuple[Sequence[Intervention], bool]:
        """Record new hints and pins; return them, and whether drops are asked for.

        On a full disk, or where a store is away, all wait for a while.
        """
        try:
            size = self.files.requests.stat().st_size
        except OSError:  # nobody has asked for anything
            return (), False
        if size == self._bytes or time.monotonic() < self._again_at:
            return (), False
        try:
            requests = pending_requests(self.files)
            hints = [one for one in requests if one.kind is not Kind.DROP]
            taken = record(hints) if hints else ()
        except (EnvironmentFault, HistoryError):
            self._again_at = time.monotonic() + _LOOK_AGAIN_S
            return (), False
        self._bytes = size
        return taken, len(hints) < len(requests)


def ask(files: RunFiles, request: Intervention) -> list[Intervention] | None:
    """Ask something of a run; return what was taken, or `None` where a night under way on this machine takes it.

    Raises:
        RunIsBusy: If another machine holds the run; nothing is kept then.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked_here(files))
        except RunIsBusy:
            add_request(files, request)
            return None
        stack.enter_context(files.backend.hold(files.directory))
        add_request(files, request)
        taken = take_all(files, stored_run.read_run(files))
        return [one for one in taken if one.id.partition("-")[0] == request.id]


def ask_before_a_night(files: RunFiles, request: Intervention) -> None:
    """Ask for a pin that ends with its withdrawal alone; the night that begins next takes it."""
    with run_lock(files):
        known = [*read_interventions(files), *pending_requests(files)]
        ends = [place for place, one in enumerate(known) if one.kind is Kind.WITHDRAWAL]
        in_force = known[ends[-1] + 1 :] if ends else known
        if not any(one.program_id == request.program_id and one.prompts is None for one in in_force):
            add_request(files, request)


def take_all(files: RunFiles, run: RunRecord) -> list[Intervention]:
    """Take all requests while no night is under way; the caller holds the run's lock. Return what was taken.

    Hints and pins begin with the first prompt that no night has paid for.
    """
    requests = pending_requests(files)
    if not requests:
        return []
    past = stored_run.read_run_history(files, samples=run.problem.settings.candidates_per_prompt)
    return take(files, requests, _first_unpaid(files, run, past), past)


def take(
    files: RunFiles,
    requests: Sequence[Intervention],
    first: Turn,
    past: RunHistory | None = None,
    night: int | None = None,
) -> list[Intervention]:
    """Write requests to the history, with the place at which each takes effect; return them with it.

    Args:
        files: Files of the run, whose lock is held.
        requests: The requests.
        first: The first prompt that they may change.
        past: The history, after whose last generation drops take effect; `None` if there are none among them.
        night: Number of the night under way; `None` if there is none.

    Raises:
        HistoryError: If the file of interventions is damaged.
        EnvironmentFault: If they cannot be written; none is taken then.
    """
    known = read_interventions(files)
    taken = placed(requests, first, known, past, night)
    write_interventions(files, [*known, *taken])
    return taken


def placed(
    requests: Sequence[Intervention],
    first: Turn,
    known: Sequence[Intervention],
    past: RunHistory | None,
    night: int | None,
) -> list[Intervention]:
    """Return requests with the place at which each takes effect: none does before one that was taken earlier."""
    generation, prompt = max([(first.generation, first.index), *(one.begins for one in known)])
    place = len(past.steps) if past else 0
    return [
        replace(each, generation=generation, prompt=prompt, place=place if each.kind is Kind.DROP else 0, night=night)
        for one in requests
        for each in _each(one, past)
    ]


def _each(request: Intervention, past: RunHistory | None) -> Iterator[Intervention]:
    """Yield a request; a drop once for each program that goes with the one that it names."""
    yield request
    if past and request.kind is Kind.DROP:
        names = dropped_with(past, request.program_id, with_descendants=request.with_descendants)
        for number, name in enumerate(names, start=1):
            yield replace(request, id=f"{request.id}-{number}", program_id=name)


def _first_unpaid(files: RunFiles, run: RunRecord, past: RunHistory) -> Turn:
    """Return the first prompt after all those of which an answer is paid for.

    A batch job may have been sent for all prompts that are planned.
    """
    if run.problem.settings.sampling.batch_api:
        return rebuild(run, past).next_turn
    open_generations = [number for number in files.journalled_generations() if number > past.generations]
    paid = [
        (number, 1 + answer.prompt)
        for number in open_generations
        for answer in Journal(files.journal(number), files.backend).known().values()
        if answer.finish_reason != QUESTION
    ]
    return Turn(*max([(past.generations + 1, 0), *paid]))
