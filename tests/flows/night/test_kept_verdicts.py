"""Evaluations that were done outlive a killed night, as answers do: none is repeated once its verdict was written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from overnight.flows.night import events
from overnight.flows.night.night import Night as OneNight
from overnight.flows.night.verdict_store import VerdictStore
from overnight.schemas.job import Job
from overnight.tasks.history.rows import read_rows
from overnight.testing.fake_provider import Provider
from overnight.testing.made import a_problem, a_run, run_at
from tests.flows.conftest import Night
from tests.flows.nights import by_prompt, require_replay
from tests.in_process import InProcess, InProcessBackend

pytestmark = pytest.mark.heavy


class Killed(BaseException):
    """The process ended."""


@pytest.fixture
def evaluated(in_process: InProcess) -> Counter[tuple[float, str]]:
    """How often each program was run, by its limit of seconds, which tells confirmations from evaluations."""
    counts = Counter[tuple[float, str]]()

    def count(job: Job, text: str) -> None:
        counts[job.limits.wall_s, text] += 1

    in_process.fault = count
    return counts


@pytest.fixture
def asks(asks: dict[str, Any], provider: Provider) -> dict[str, Any]:
    provider.script = by_prompt
    asks["sampling"] |= {"concurrency": 2}
    return {**asks, "sandbox": {"confirm": "best"}}


def kill_at(event: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next night end at an event of its loop: nothing is done any more, and nothing committed."""
    take, seen = OneNight._take, Counter[str]()

    def take_or_end(self: OneNight, told: events.Event) -> None:
        seen["events"] += not isinstance(told, events.Tick)
        if seen["events"] >= event:
            raise Killed
        take(self, told)

    monkeypatch.setattr(OneNight, "_take", take_or_end)


@pytest.mark.parametrize("event", [4, 7, 10, 14])
def test_a_night_that_is_killed_at_any_event_repeats_no_evaluation(
    event: int, night: Night, asks: dict[str, Any], evaluated: Counter[Any], tmp_path: Path, monkeypatch: Any
):
    with monkeypatch.context() as patched:
        kill_at(event, patched)
        with pytest.raises(Killed):
            night(3, settings=asks)
    files = night(1)
    assert len(evaluated) > 3
    assert set(evaluated.values()) == {1}, "neither an evaluation nor a confirmation is repeated"
    ids = [row["program_id"] for number in files.committed() for row in read_rows(files, "programs", number)]
    assert len(ids) == len(set(ids)), "one verdict each"
    require_replay(files, tmp_path / "again")


@pytest.mark.parametrize("image", ["this process", "another"])
def test_of_a_night_that_is_killed_before_its_commit_nothing_is_lost_that_still_counts(
    image: str, night: Night, asks: dict[str, Any], evaluated: Counter[Any], tmp_path: Path, monkeypatch: Any
):
    perform = OneNight._perform

    def perform_or_end(self: OneNight, action: events.Action) -> None:
        if isinstance(action, events.Commit):
            raise Killed
        perform(self, action)

    with monkeypatch.context() as patched:
        patched.setattr(OneNight, "_perform", perform_or_end)
        with pytest.raises(Killed):
            night(3, settings=asks)
    _, *judged = list(evaluated)  # the start program comes first
    assert run_at(tmp_path / "runs/toy").committed() == [0]
    monkeypatch.setattr(InProcessBackend, "image_id", lambda *_: image)
    files = night(1)
    assert files.committed() == [0, 1]
    bodies = tuple(f"    {row['body']}\n" for row in read_rows(files, "programs", 1) if row["outcome"] != "duplicate")
    times = {evaluated[name] for name in judged if name[1].endswith(bodies)}
    assert times == {1 + (image == "another")}, "what another image would judge is evaluated again"


def test_verdicts_depend_on_limits_inputs_and_what_else_decides_them():
    run = a_run("toy", a_problem())
    problem = run.problem

    def under(**settings: Any) -> str:
        changed = replace(problem, settings=problem.settings.model_copy(update=settings))
        return VerdictStore(replace(run, problem=changed), cast("Any", None))._under

    sandbox, limits = problem.settings.sandbox, problem.settings.limits
    same = under(), under(sandbox=sandbox.model_copy(update={"slots": 7}))
    others = (
        under(limits=limits.model_copy(update={"wall_s": limits.wall_s + 1})),
        under(noise=0.5),
        under(sandbox=sandbox.model_copy(update={"split": True})),
        VerdictStore(replace(run, seed=run.seed + 1), cast("Any", None))._under,
        VerdictStore(
            replace(run, problem=replace(problem, inputs={**problem.inputs, "train": problem.inputs["train"][:1]})),
            cast("Any", None),
        )._under,
    )
    assert len(set(same)) == 1
    assert len({*same, *others}) == 1 + len(others)
