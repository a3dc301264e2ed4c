"""Nights whose proposers are agents, alone and beside prompts: what they hand back is a candidate like any other."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night import agents
from overnight.schemas.agent_settings import PRESETS
from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.program import TURN
from overnight.tasks.history.database import Database
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.stored_run import read_spent_usd
from overnight.tasks.report.conversation import as_text, read_conversation
from overnight.testing.fake_provider import Answer, Provider, Request
from overnight.testing.made import run_at
from tests.accidents import wait_until
from tests.agent.scripted import Agent, ScriptedChannel, Work, ask, ended, turn
from tests.command_server import RunningCommand, fork_for_queries, start_command
from tests.flows.conftest import Call, Night
from tests.flows.nights import by_prompt, containers, require_replay

STAND_IN = (Path(__file__).parents[2] / "agent/stand_in.py").read_text()


class Backend:
    """Starts containers of which `work` is the agent."""

    own_users = True

    def __init__(self) -> None:
        self.sessions = 0
        self.work: Agent = _work

    def prepare(self, image: str, *_: object) -> str:
        return image

    def start(self, _: object) -> ScriptedChannel:
        self.sessions += 1
        return ScriptedChannel(self.work)

    def close(self) -> None: ...


def _work(job: dict[str, Any], more: int = 0) -> Work:
    """Have two turns and two programs scored, and hand back a third, all with `more` added to them."""
    given = job["files"]["program/program.py"]
    first = yield ask(1, "/v1/chat/completions", turn(job["task"]))
    for number in (2, 3):
        yield ask(
            number, "/evaluate", {"files": {"program.py": given.replace("return", f"return {number + 7 * more} / 7 +")}}
        )
    rows = yield ask(4, "/sql", {"query": "SELECT count(*) AS n FROM programs"})
    assert json.loads(rows["body"])["n"] >= 1
    yield ask(5, "/v1/chat/completions", turn(job["task"], first["body"]))
    yield ended(given.replace("return", f"return {more + 0.5} +"), IDEA_md="half a step")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backend:
    config = tmp_path / "config.toml"
    config.write_text('[agents.scripted]\ncommand = ["agent", "{task}"]\n')
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(config))
    backend = Backend()
    monkeypatch.setattr(agents, "create_backend", lambda _: backend)
    monkeypatch.setattr(agents, "require_agents", lambda _: None)
    fork_for_queries(monkeypatch.setattr)
    return backend


@pytest.fixture
def asked(asks: dict[str, Any]) -> dict[str, Any]:
    """Settings of a night in which all prompts are for an agent."""
    (model,) = asks["sampling"]["models"]
    model = {**model, "name": f"agent:scripted/{model['name']}", "input_usd": 1.0, "output_usd": 2.0}
    sampling = {**asks["sampling"], "models": [model], "concurrency": 2}
    # On a busy machine, time would end the first generation before all of its prompts are asked.
    return {"sampling": sampling, "agent": {"evaluations": 3}, "search": {"seconds": 0}}


def test_what_an_agent_had_scored_and_hands_back_are_candidates_with_one_origin(
    night: Night, site: Backend, asked: dict[str, Any], tmp_path: Path
):
    files = night(2, settings=asked)
    assert site.sessions == 6
    rows = Database(tmp_path).rows("FROM programs WHERE generation = 1 ORDER BY index")
    assert [row["index"] for row in rows] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert {row["proposer"] for row in rows} == {"agent"}
    assert rows[0]["idea"] == "half a step"
    assert [bool(row["transcript"]) for row in rows[:3]] == [True, False, False]
    assert rows[0]["tokens_in"] > 0 == rows[1]["tokens_in"]
    require_replay(files, tmp_path / "again")
    assert site.sessions == 6, "a replay needs no agent"


def test_the_samples_of_a_night_are_programs_and_its_cost_is_that_of_all_turns(
    night: Night, site: Backend, asked: dict[str, Any], provider: Provider, tmp_path: Path
):
    files = night(None, max_samples=10, settings=asked)
    (row,) = Database(tmp_path).rows("SELECT samples, cost_usd FROM nights")
    totals = "SELECT count(*) AS n, sum(cost_usd) AS usd FROM programs WHERE generation > 0"
    (programs,) = Database(tmp_path).rows(totals)
    assert row["samples"] == programs["n"] == 10, "what a session does not use is left to others"
    assert len(provider.requests) == 2 * site.sessions
    assert row["cost_usd"] == pytest.approx(programs["usd"])
    assert read_spent_usd(files) == pytest.approx(row["cost_usd"])


def test_a_night_that_failed_within_sessions_goes_on_without_paying_a_turn_twice(
    night: Night, site: Backend, asked: dict[str, Any], provider: Provider, tmp_path: Path
):
    final = Answer({"error": {"message": "no such key"}}, status=401)
    provider.script = lambda number, _: final if number >= 3 else None
    with pytest.raises(TerminalProviderError):
        night(1, settings=asked)
    paid = len(provider.responses)
    files = run_at(tmp_path / "runs/toy")
    assert read_spent_usd(files) > 0.0
    provider.script = lambda *_: None
    provider.requests.clear()
    night(1)
    assert len(provider.requests) == 6 - paid
    (spent,) = Database(tmp_path).rows("SELECT sum(cost_usd) AS usd FROM programs")
    assert read_spent_usd(files) == pytest.approx(spent["usd"])
    nights = Database(tmp_path).rows("SELECT sum(cost_usd) AS usd FROM files.nights")
    assert nights[0]["usd"] == pytest.approx(spent["usd"])
    require_replay(files, tmp_path / "again")


def test_agents_and_prompts_share_a_night_which_is_replayed_the_same(
    night: Night, site: Backend, asks: dict[str, Any], asked: dict[str, Any], tmp_path: Path
):
    """The agent hands nothing back before prompts are answered and committed that were asked after it."""
    both = [*asks["sampling"]["models"], *asked["sampling"]["models"]]
    settings = {**asked, "sampling": {**asked["sampling"], "models": both}}

    def work(job: dict[str, Any]) -> Work:
        wait_until(lambda: len(run_at(tmp_path / "runs/toy").committed()) >= 3)
        yield from _work(job, next(numbers))

    # Each session has programs of its own: what the history has already is no new sample of another one.
    site.work, numbers = work, count()
    files = night(3, settings=settings)
    rows = Database(tmp_path).rows("SELECT generation, agent FROM generations ORDER BY place")
    assert sorted(row["generation"] for row in rows if row["agent"]) == [1, 2]
    assert [row["generation"] for row in rows[:3]] == [0, 3, 4], "prompts wait for no agent"
    found = Database(tmp_path).rows("SELECT proposer, count(*) AS n FROM programs GROUP BY ALL")
    assert {row["proposer"]: row["n"] for row in found}["agent"] == 6
    assert {row["proposer"] for row in found} == {None, "agent", "prompt"}
    require_replay(files, tmp_path / "again")
    assert site.sessions == 2, "a replay needs no agent"


DRAWING = """# /// script
# [tool.overnight]
# inputs = [1, 2]
# ///
import funsearch
@funsearch.run
def evaluate(n): return f(n)
@funsearch.inputs
def fresh(seed): return seed
@funsearch.evolve
def f(n):
    return 1.0
"""


def test_an_agent_of_a_night_tries_its_program_on_inputs_that_are_drawn(
    night: Night, site: Backend, asked: dict[str, Any], tmp_path: Path
):
    answers: list[dict[str, Any]] = []

    def work(job: dict[str, Any]) -> Work:
        given = job["files"]["program/program.py"]
        answers.append((yield ask(1, "/try", {"files": {"program.py": given}})))
        yield ended(given.replace("1.0", f"{len(answers)}.0"))

    site.work = work
    path = tmp_path / "drawing.py"
    path.write_text(DRAWING)
    night(1, problem=path, settings=asked)
    assert {one["status"] for one in answers} == {200}
    assert len(json.loads(answers[0]["body"])["score_on_each_input"]) == 20


def test_an_agent_is_told_the_score_of_a_program_that_was_judged_before(
    night: Night, site: Backend, asked: dict[str, Any], tmp_path: Path
):
    answers: list[dict[str, Any]] = []

    def work(job: dict[str, Any]) -> Work:
        given = job["files"]["program/program.py"]
        answers.append((yield ask(1, "/evaluate", {"files": {"program.py": f"import this\n{given}"}})))
        yield ended(given.replace("return", "return 0.5 +"))

    site.work = work
    night(1, settings=asked)
    assert {one["status"] for one in answers} == {400}
    (start,) = Database(tmp_path).rows("SELECT program_id, outcome, score FROM programs WHERE generation = 0")
    assert {json.dumps(start) in one["body"] for one in answers} == {True}


def test_a_session_that_finds_nothing_better_is_no_error_and_what_it_left_is_there_for_later_ones(
    night: Night, site: Backend, asked: dict[str, Any], tmp_path: Path
):
    jobs: list[dict[str, Any]] = []

    def work(job: dict[str, Any]) -> Work:
        jobs.append(job)
        yield ask(1, "/v1/chat/completions", turn(job["task"]))
        given = job["files"]["program/program.py"]
        yield ended(given, IDEA_md="all of 1 to 9: no gain") | {"left": {"tried.md": "1 to 9"}}

    site.work = work
    files = night(2, settings=asked)
    rows = Database(tmp_path).rows("FROM programs WHERE generation > 0 ORDER BY generation, index")
    assert {(row["outcome"], row["idea"]) for row in rows} == {("duplicate", "all of 1 to 9: no gain")}
    assert rows[0]["error"] == "the agent found nothing better, and left the program as it was"
    assert as_text(read_conversation(rows[0]["transcript"])).count("[file · tried.md] 1 to 9") == 1
    later = jobs[-1]
    assert "all of 1 to 9: no gain (nothing better was found)" in later["task"]
    assert "avoid them" not in later["task"]
    assert [text for path, text in later["files"].items() if path.endswith("tried.md")] == ["1 to 9"] * 3
    require_replay(files, tmp_path / "again")


# With containers, killed


@pytest.fixture
def overnight(prefect_api: str, tmp_path: Path) -> Callable[..., RunningCommand]:
    config = tmp_path / "config.toml"
    config.write_text(f"[agents.standin]\ncommand = {json.dumps(['python3', '-c', STAND_IN, '{task}'])}\n")
    environment = {
        **os.environ, "PREFECT_API_URL": prefect_api, "OVERNIGHT_HISTORY": str(tmp_path / "history"),
        "OVERNIGHT_CONFIG": str(config), "OPENAI_API_KEY": "test",
    }  # fmt: skip
    return lambda *arguments: start_command(arguments, environment)


def _steps(_: int, request: Request) -> Answer:
    """Answer as a model would that changes the number, has it scored, and ends: another in each session."""
    place = sum(one["role"] == "assistant" for one in request["messages"])
    number = len(request["messages"][0]["content"]) % 97 / 7
    edit = f"sed -i 's/return.*/return offset + {number}/' program/program.py; overnight-evaluate"
    commands = ["cat program/program.py", edit, "echo a number > IDEA.md"]
    message: dict[str, Any] = {"role": "assistant", "content": f"step {place}"}
    if place < len(commands):
        arguments = json.dumps({"command": commands[place]})
        function = {"name": "bash", "arguments": arguments}
        message["tool_calls"] = [{"id": f"c{place}", "type": "function", "function": function}]
    reason = "tool_calls" if place < len(commands) else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return Answer({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


_AT_ONCE = 2
"""Agents that work at a time, so most requests that a kill may cut off."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("models", [("agent:standin/openai/test",), ("openai/test", "agent:standin/openai/test")])
def test_ten_kills_pay_no_turn_twice(
    overnight: Callable[..., RunningCommand], toy: Path, tmp_path: Path, provider: Provider, models: tuple[str, ...]
):
    """Also where prompts are asked beside agents, whose requests have tools, as those of prompts have not."""
    times, turns, chance = 10, list[Request](), random.Random(3)

    def script(number: int, request: Request) -> Answer:
        if request.get("tools"):
            turns.append(request)
            return _steps(number, request)
        return by_prompt(number, request)

    provider.script, provider.latency_s = script, 0.3
    named = [word for model in models for word in ("--model", model)]
    model = (*named, "--api-base", provider.api_base, "--set", "agent.evaluations=2")
    process = overnight("run", str(toy), *model, "--generations", "100000", "--seed", "1")
    assert process.stderr is not None
    run_id = next(found[1] for line in process.stderr if (found := re.match(r"run (\S+), seed", line)))
    for _ in range(times):
        wanted = len(turns) + 1 + chance.randrange(9)
        wait_until(lambda p=process, wanted=wanted: len(turns) >= wanted or p.poll() is not None)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not containers(run_id), lambda: "its containers do not vanish by themselves", timeout_s=30)
        process = overnight("resume", run_id, "--generations", "100000")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    final = overnight("resume", run_id, "--generations", "1")
    _, said = final.communicate(timeout=200)
    assert final.returncode == 0, said
    lost = len(turns) - turns_kept(tmp_path / "history", run_id)
    assert 0 <= lost <= times * _AT_ONCE, "what a kill cut off between the answer and the disk"
    replay = overnight("replay", run_id, "--into", str(tmp_path / "again"))
    _, said = replay.communicate(timeout=200)
    assert replay.returncode == 0, said


def turns_kept(history: Path, run_id: str) -> int:
    """Return the number of a model's turns in transcripts, and in journals of generations that are not committed."""
    rows = Database(history).rows("SELECT transcript FROM programs WHERE transcript IS NOT NULL")
    events = [event["event"] for row in rows for event in json.loads(row["transcript"])["events"]]
    files = run_at(history / "runs" / run_id)
    journals = [Journal(files.journal(number), files.backend) for number in files.journalled_generations()]
    stored = [one for journal in journals for one in journal.known().values() if one.finish_reason == TURN]
    return events.count("turn") + sum(one.tokens_in > 0 for one in stored)


# Agents that need no definition, from their packages, against a model on loopback that makes tool calls


COMMANDS = [
    "cat program/program.py",
    "sed -i 's/offset + 1.0/offset + 9.0/' program/program.py && overnight-evaluate",
    "overnight-sql 'SELECT program_id, score FROM programs'",
    "echo nine > IDEA.md",
    "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
]


def script(_: int, request: Request) -> Answer:
    place = sum(one["role"] == "assistant" for one in request["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": f"step {place}"}
    if place < len(COMMANDS):
        function = {"name": "bash", "arguments": json.dumps({"command": COMMANDS[place]})}
        message["tool_calls"] = [{"id": f"c{place}", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if place < len(COMMANDS) else "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
    return Answer({"id": "x", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PRESETS)
def test_it_works_on_a_program_has_it_scored_and_hands_it_back(
    name: str, prefect: str, call: Call, toy: Path, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    """It needs an index of packages, and npm for those of npm, the first time."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    provider.script = script
    flags = ("--api-base", provider.api_base, "--generations", "1", "--set", "search.prompts=1", "--history", tmp_path)
    code, said = call("run", toy, "--model", f"agent:{name}/openai/test", *flags)
    assert code == 0, said
    (row,) = Database(tmp_path).rows("SELECT score, idea, transcript FROM programs WHERE generation > 0")
    assert (row["score"], row["idea"]) == (-1.0, "nine")
    events = [event["event"] for event in json.loads(row["transcript"])["events"]]
    assert events.count("evaluation") == events.count("query") == 1
