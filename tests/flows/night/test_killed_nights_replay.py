"""Nights that were killed, paused, cut, or asked for something: the replay of their files finds no difference."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.flows.night.events import Action, Ask, Event, Failed
from overnight.flows.night.open_run import OpenRun, read_state
from overnight.flows.night.recorded_run import read_recorded_run
from overnight.flows.night.replay import likely_causes, replay
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.algorithm import Join
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Candidate, Judged, Prompt
from overnight.tasks.history import record
from overnight.tasks.history.differences import Comparison, Difference
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.interventions import write_interventions
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import read_rows
from overnight.testing.made import a_generation, a_judged, a_problem, a_run
from tests.flows.night.test_core import ALGORITHMS, EXAMPLES, seeds
from tests.flows.night.test_interventions import ASKS, a_world, unique
from tests.flows.night.test_interventions import Ask as Request
from tests.flows.night.world import Files, World
from tests.flows.nights import everything

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

GENERATIONS = 4
LATE = Verdict(Outcome.TIMED_OUT, error="took more than 20 s of wall clock on input 1")
FAULTS = (LATE, Verdict(Outcome.SANDBOX_ERROR, error="the machine is too busy: it got no processor for 30 s"))


@dataclass
class Hurried(World):
    """A world in which time decides some verdicts: each evaluation of a program may take too long.

    Attributes:
        late: Share of evaluations and confirmations that it decides.
        broken: Number of a generation that fails whenever it is tried.
        moment: What is drawn anew for each.
    """

    late: float = 0.0
    broken: int | None = None
    moment: Random = field(default_factory=Random)

    def _done(self, action: Action, order: Random) -> list[Event]:
        if isinstance(action, Ask) and action.number == self.broken:
            return [Failed(action.attempt, ValueError("it is broken"))]
        return super()._done(action, order)

    def _candidate(self, prompt: Prompt, sample: int, gain: float) -> tuple[Candidate, Verdict]:
        candidate, verdict = super()._candidate(prompt, sample, gain)
        if verdict.outcome is Outcome.CRASHED:
            verdict = replace(verdict, error=f"{verdict.error} at {hex(self.moment.getrandbits(40))}")
        return candidate, self._in_time(verdict)

    def _confirmation(self, claim: Judged) -> Verdict:
        return self._in_time(super()._confirmation(claim))

    def _in_time(self, verdict: Verdict) -> Verdict:
        return self.moment.choice(FAULTS) if self.moment.random() < self.late else verdict

    # As the parts of an open run

    def open_again(self, files: RunFiles, recorded: RunFiles) -> OpenRun:
        """Return the run of some files, whose recorded samples are evaluated in this world."""
        left_out: set[int] = set()

        def sample(number: int, prompts: Sequence[Prompt]) -> list[tuple[Prompt, int]]:
            samples = self.files.run.problem.settings.candidates_per_prompt
            there = {row["index"] for row in read_rows(recorded, "programs", number)}
            asked = [(prompt, sample) for prompt in prompts for sample in range(prompt.samples)]
            return [(prompt, sample) for prompt, sample in asked if prompt.index * samples + sample in there]

        def evaluate(samples: Sequence[tuple[Prompt, int]], _: int) -> list[tuple[Candidate, Verdict]]:
            pairs = [self._candidate(prompt, number, 0.0) for prompt, number in samples]
            return [(one, STOPPED_BY_DEADLINE if one.index in left_out else verdict) for one, verdict in pairs]

        def leave_out(_: int, indices: Collection[int]) -> None:
            left_out.clear()
            left_out.update(indices)

        parts: dict[str, Any] = {
            "files": files,
            "run": self.files.run,
            "state": read_state(files, self.files.run),
            "progress": SimpleNamespace(committed=lambda *_: None),
            "stores": SimpleNamespace(open=lambda _: None),
            "sampler": SimpleNamespace(sample=sample),
            "evaluator": SimpleNamespace(evaluate=evaluate, leave_out=leave_out),
            "confirmer": SimpleNamespace(run_again=lambda claim, _: self._confirmation(claim)),
            "write": lambda generation: record.commit(files, generation),
            "committed": lambda _: None,
        }
        return cast("OpenRun", SimpleNamespace(**parts))


def begun(world: Files, into: Path) -> RunFiles:
    """Write the run with its start program, and what people asked for."""
    files = files_of(LocalBackend(into), world.run.run_id)
    start = a_judged(world.run.run_id, 0, 0, scores=world.start.scores, body=world.start.body, model="")
    start = replace(start, id=world.start.id)
    joins = [Join(niche, start.id) for niche in world.run.problem.settings.search.algorithm.founded_niches]
    record.create(files, world.run, a_generation(0, [start], start.program(), joins, night=0))
    if world.interventions:
        write_interventions(files, world.interventions)
    return files


def written(world: Files, into: Path) -> RunFiles:
    """Write what simulated nights left, as real ones do."""
    files = begun(world, into)
    for failed in world.failed_attempts:
        record.record_failure(files, failed)
    for commit in world.commits:
        record.commit(files, commit)
    for night in world.nights:
        record.write_night(files, night)
    return files


def replayed(search: Hurried) -> Comparison:
    """Replay what a search left, at other moments; what differs."""
    with tempfile.TemporaryDirectory() as place:
        files = written(search.files, Path(place) / "then")
        again = begun(search.files, Path(place) / "again")
        found = replay(read_recorded_run(files), search.open_again(again, files))
        assert found.first is not None or everything(again) == everything(files)
        return found


def a_search(algorithm: Any, *, seed: int, tunes: bool = False, **more: Any) -> Hurried:
    files = a_world(algorithm).files
    problem = files.run.problem
    tuner = problem.settings.tuner.model_copy(update={"enabled": tunes})
    problem = replace(problem, settings=problem.settings.model_copy(update={"tuner": tuner}))
    files = Files(replace(files.run, problem=problem), files.start)
    return Hurried(files, 1, liars=0.3, in_flight=6, moment=Random(seed), **more)


events = st.integers(2, 80)


@given(
    seeds,
    st.sampled_from(ALGORITHMS),
    st.lists(st.tuples(events, st.sampled_from(ASKS)), max_size=3),
    st.lists(st.tuples(events, st.sampled_from([6, 2, 9])), max_size=4),
    st.none() | events,
    st.none() | st.integers(1, GENERATIONS),
    st.booleans(),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from([0.0, 0.15]),
    st.sampled_from([1, 3, math.inf]),
)
@settings(max_examples=EXAMPLES // 5)
def test_nights_that_met_everything_replay_to_the_same_history(
    seed: int,
    algorithm: Any,
    wanted: list[tuple[int, Request]],
    kills: list[tuple[int, int]],
    cut_at: int | None,
    broken: int | None,
    tunes: bool,
    faults: float,
    late: float,
    slow_from: float,
):
    search = a_search(
        algorithm, seed=seed, tunes=tunes, faults=faults, late=late, broken=broken, slow_from=slow_from, if_slow=4
    )
    order = Random(seed)
    asks = {at: unique(ask, number) for number, (at, ask) in enumerate(wanted)}
    for at, in_flight in [*kills, (None, 6)]:
        if (done := len(search.files.ends)) < GENERATIONS:
            search.in_flight = in_flight
            search.night(order, StopConditions(generations=GENERATIONS - done), kill_at=at, cut_at=cut_at, asks=asks)
            asks, cut_at = {}, None
    search.broken = None
    if failed := search.core.state.failed:
        search.night(order, StopConditions(), retried=tuple(sorted(failed)))
    found = replayed(search)
    assert found.first is None, found.first
    assert late or not found.decided_by_time


def test_a_changed_score_is_a_difference_whatever_time_decided():
    search = a_search({"name": "greedy"}, seed=3, late=0.2)
    search.night(Random(3), StopConditions(generations=3))
    last = search.files.commits[-1]
    scored = next(one for one in last.judged if one.score is not None)
    changed = replace(scored, score=0.125)
    judged = tuple(changed if one is scored else one for one in last.judged)
    search.files.ends[-1] = replace(last, judged=judged)
    search.late = 0.0  # a replay in which the changed program comes too late would take the score that is recorded
    found = replayed(search)
    assert found.decided_by_time
    assert found.first is not None
    assert found.first.recorded == {"score": 0.125}


def finalist(validation: float | None) -> dict[str, Any]:
    return {"program_id": "a", "train": 1.0, "validation": validation, "held_out": None}


@pytest.mark.parametrize(
    ("table", "recorded", "repeated", "says", "is_of_files"),
    [
        ("programs", {"score": 0.5, "scores": [0.5]}, {"score": 0.25, "scores": [0.25]}, "chance or the clock", True),
        ("programs", {"outcome": "out_of_memory"}, {"outcome": "scored"}, "edge of its limits", False),
        ("programs", {"metrics": [("s", 1.0)]}, {"metrics": [("s", 2.0)]}, "something else each time", False),
        ("programs", {"body": "return 1"}, {"body": "return 2"}, "files may have been changed", True),
        ("nights", {"finalists": [finalist(None)]}, {"finalists": [finalist(1.0)]}, "edge of its limits", False),
        ("nights", {"finalists": [finalist(2.0)]}, {"finalists": [finalist(1.0)]}, "files may have been changed", True),
    ],
)
def test_a_difference_is_told_as_what_it_is(
    table: str, recorded: dict[str, Any], repeated: dict[str, Any], says: str, is_of_files: bool
):
    run = a_run("toy", a_problem())
    same = cast("Any", SimpleNamespace(run=run))
    causes = likely_causes(same, same, Difference(table, 1, recorded, repeated, recorded))
    assert says in causes[0]
    assert ("the files may have been changed" in causes[-1]) == is_of_files
