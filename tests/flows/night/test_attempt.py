"""The work of a generation's flow run, without one."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.flows.night import attempt
from overnight.flows.night.attempt import GenerationAttempt
from overnight.flows.night.events import Abandon, Ask, Event, Prune
from overnight.schemas.program import Program
from overnight.testing.made import a_generation
from tests.in_process import Submitted


def test_a_task_that_begins_after_its_flow_run_has_ended_ends_in_silence(monkeypatch: pytest.MonkeyPatch):
    sampled, evaluated = Submitted(), Submitted()
    monkeypatch.setattr(attempt, "sample", SimpleNamespace(submit=lambda *_: sampled))
    monkeypatch.setattr(attempt, "evaluate", SimpleNamespace(submit=lambda *_: evaluated))
    events: list[Event] = []
    run: Any = SimpleNamespace(sampler=None, evaluator=None)
    given_up = GenerationAttempt(run, 1, 1, events.append, cast("Any", None), threading.Lock())
    given_up._ask(Ask(1, 1, ()))
    sampled.set_result([])
    # An error of a callback that is no `Exception` would end the thread, with a traceback on stderr.
    evaluated.set_exception(asyncio.CancelledError("Task run cancelled by the task runner"))
    assert events == []


def test_answers_that_wait_for_a_full_disk_are_written_before_a_commit_counts_them(monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    journal = SimpleNamespace(write_waiting=lambda: done.append("written"))
    run: Any = SimpleNamespace(stores=SimpleNamespace(of=lambda _: SimpleNamespace(journal=journal)), write=None)
    monkeypatch.setattr(attempt, "select", lambda *_: done.append("committed") or SimpleNamespace(score=1.0))
    committing = GenerationAttempt(run, 1, 1, lambda _: None, cast("Any", None), threading.Lock())
    committing._commit(a_generation(1, [], Program("x", "1", (1.0,), 1.0)))
    assert done == ["written", "committed"]


def test_an_attempt_that_is_abandoned_stops_its_pruning(monkeypatch: pytest.MonkeyPatch):
    stops: list[threading.Event] = []
    monkeypatch.setattr(attempt, "prune_best", lambda _run, _wanted, stopped: stops.append(stopped))
    monkeypatch.setattr(attempt, "prune", SimpleNamespace(submit=lambda pruned: pruned() or Submitted()))
    withdrawn = GenerationAttempt(cast("Any", None), 1, 1, lambda _: None, cast("Any", None), threading.Lock())
    withdrawn.flow_runs.acquire()
    withdrawn.inbox.put(Prune(1, 1, [], ()))
    withdrawn.inbox.put(Abandon(1, "it begins again", is_cancelled=True))
    withdrawn.work()
    assert [one.is_set() for one in stops] == [True]
