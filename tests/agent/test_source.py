"""A session of an agent: one prompt, one container, and completions that are paid for once."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from textwrap import indent
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from overnight.schemas.errors import SpecificationError, TerminalProviderError
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import TURN, UNUSED
from overnight.tasks.agent import clock
from overnight.tasks.agent.source import Sessions
from overnight.tasks.agent.transcript import Transcript, turn_hash
from overnight.tasks.agent.workspace import answer_text, files_left, files_of, kept_files
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample import endpoint
from overnight.tasks.sample.budget import BudgetLimits
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.sample.sampler import to_candidates
from overnight.testing.completion_sources import CompletionSourceContract, Make, Store, Subject
from overnight.testing.fake_provider import Answer, Provider, default_response
from tests.agent.scripted import (
    BETTER,
    GIVEN,
    SPECIFICATION,
    Agent,
    Message,
    Office,
    Work,
    ask,
    asking,
    ended,
    just,
    problem,
    program,
    turn,
    without_times,
)

LONG_S = 60.0
CHAT = "/v1/chat/completions"


@pytest.fixture
def office(provider: Provider) -> Office:
    return Office(problem(provider.api_base))


def works(*texts: str, hand_back: str = BETTER) -> Agent:
    """Return an agent that has one turn of its model and has programs scored, before it hands one back."""

    def agent(_: Message) -> Work:
        answer = yield ask(1, CHAT, turn("begin"))
        assert json.loads(answer["body"])["choices"][0]["message"]["content"]
        for number, text in enumerate(texts, start=2):
            yield ask(number, "/evaluate", program(text))
        yield ended(hand_back, IDEA_md="doubled")

    return agent


def said(answers: list[Message], *requests: Message) -> Agent:
    """Return an agent that sends requests and keeps the answers."""

    def agent(_: Message) -> Work:
        yield from asking(requests, answers)
        yield ended(BETTER)

    return agent


def cut_short(office: Office, *requests: Message, answers: list[Message] | None = None) -> None:
    """Let an agent send requests, and end its session as a kill of the night would."""
    reached = threading.Event()

    def agent(_: Message) -> Work:
        yield from asking(requests, [] if answers is None else answers)
        reached.set()
        yield {}

    answer = office.source(agent).submit(office.wanted(), office.record)
    assert reached.wait(LONG_S)
    office.sessions.stop()
    assert answer.result(timeout=LONG_S) == []


class TestContract(CompletionSourceContract):
    """Agents that ask no model."""

    @pytest.fixture
    def make(self, office: Office) -> Make:
        def make() -> Subject:
            wanted = [sample for index in range(3) for sample in office.wanted(index)]
            return Subject(office.source(just(ended(BETTER))), office.store, wanted, lambda: 0, record=office.record)

        return make


# What a session hands back


def test_what_it_hands_back_is_the_first_sample_and_what_it_had_scored_follows(office: Office):
    handed, first, second, unused = office.run(works("def f(x):\n    return x + 7\n", "def f(x):\n    return 1 / 0\n"))
    assert handed.text.startswith("# idea: doubled\n")
    assert [one.finish_reason for one in (first, second, unused)] == ["evaluated", "evaluated", UNUSED]
    candidates = to_candidates([office.wanted()[0].prompt], [handed, first, second, unused], office.problem)
    assert [one.body for one in candidates] == ["return x * 2", "return x + 7", "return 1 / 0"]
    assert [one.index for one in candidates] == [0, 1, 2]
    assert candidates[0].completion.idea == "doubled"


def test_a_program_that_was_scored_and_is_handed_back_is_one_candidate(office: Office):
    handed, *others = office.run(works(BETTER, BETTER))
    assert handed.text.endswith("```\n")
    assert {one.finish_reason for one in others} == {UNUSED}
    assert len(office.sandbox.evaluated) == 1


def test_its_task_has_the_prompt_its_limits_and_the_function_that_evolves(office: Office):
    jobs: list[Message] = []

    def agent(job: Message) -> Work:
        jobs.append(job)
        yield ended(BETTER)

    office.run(agent)
    (job,) = jobs
    assert job["files"]["program/program.py"].endswith("    return x + 2\n")
    told = ("prompt 0", "have 3 more programs scored", "`program/program.py`", "2048 MiB of memory", "50 answers")
    assert [words for words in told if words not in job["task"]] == []
    assert "Of it, `f(x)` counts" in job["task"]
    assert "evaluate(n)" not in json.dumps(job), "the scoring stays outside"


LOCAL = "shift = 2\nreturn x * shift"
NESTED = "def shift(y):\n    return y * 2\nreturn shift(x)"


@pytest.mark.parametrize(
    "body", ["return x * 2", LOCAL, NESTED], ids=["removed", "a local variable", "a function inside"]
)
def test_what_an_agent_removes_beside_the_function_stays_removed(body: str):
    specification = read_specification(SPECIFICATION, "double.py")
    base = (
        "import sys\nsys.setrecursionlimit(9)\n\n\ndef shift(x):\n    return x + 1\n\n\ndef f(x):\n    return shift(x)"
    )
    (path,) = files_of(specification, base)
    text = answer_text(specification, {path: "def f(x):\n" + indent(body, "    ")})
    assert codec_of(specification.kind).parse(text, specification, 1, base).body == body


def test_a_program_with_a_name_of_the_scoring_is_told_so_for_nothing(office: Office):
    answers: list[Message] = []
    taken = "K = 1\n\n\ndef f(x):\n    return x * 2 * K\n"
    office = Office(replace(office.problem, specification=read_specification(SPECIFICATION + "K = 3\n", "double.py")))
    office.run(said(answers, ask(1, "/evaluate", program(taken)), ask(2, "/evaluate", program(BETTER))))
    assert [one["status"] for one in answers] == [400, 200]
    assert "`K` is something else in the problem's file: give it another name; nothing is used up" in answers[0]["body"]
    assert '"evaluations_left": 2' in answers[1]["body"]


def test_what_it_leaves_in_its_folder_is_kept_and_a_later_session_finds_it(office: Office):
    jobs: list[Message] = []
    left = {"notes/tried.md": "2x is best", "../etc/x": "no", "/tmp/x": "no", "a/../../x": "no"}

    def agent(job: Message) -> Work:
        jobs.append(job)
        yield ended(BETTER) | {"left": left}

    office.earlier = {"abc/fit.py": "print(2)"}
    handed, *_ = office.run(agent)
    assert json.loads(handed.transcript)["files"] == {"notes/tried.md": "2x is best"}
    assert jobs[0]["files"]["earlier/abc/fit.py"] == "print(2)"
    assert "`earlier/abc/`: what earlier sessions" in jobs[0]["task"]


def test_what_it_leaves_has_a_limit():
    kept = kept_files({f"{number:03}.txt": "x" * 50_000 for number in range(100)})
    assert sum(map(len, kept.values())) <= 256 * 1024
    assert len(kept_files({f"{number:03}.txt": "x" for number in range(100)})) == 40


@pytest.mark.parametrize(
    ("transcript", "files"),
    [
        ('{"files": {"a.md": "x", "b.md": 1, "../c": "x", "d.md": null}}', {"a.md": "x"}),
        ('{"files": null}', {}),
        ('{"files": ["a.md"]}', {}),
        ("[1]", {}),
        ("{", {}),
        ("[" * 100_000, {}),
    ],
)
def test_what_a_record_says_was_left_is_taken_only_where_it_is_text(transcript: str, files: dict[str, str]):
    assert files_left(transcript) == files


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (ended(), "the agent ended without a change"),
        (
            ended('def f(x):\n    """Double x."""\n    return x + 2\n', code=1),
            "ended without a change, with exit code 1",
        ),
        (ended(["Too many levels of symbolic links"]), "cannot be read: Too many levels of symbolic links"),
        (ended(code="agent cannot be run: No such file or directory"), "did not run: agent cannot be run"),
    ],
)
def test_one_that_hands_back_nothing_says_why(office: Office, last: Message, error: str):
    handed, *others = office.run(just(last))
    assert error in handed.error
    assert {one.finish_reason for one in others} == {UNUSED}


def test_an_answer_in_other_files_is_none(office: Office):
    handed, *_ = office.run(just(ended(score_py="def evaluate(n): return 9e9")))
    assert "without a change" in handed.error
    assert "9e9" not in handed.text


# Its model


def test_turns_are_counted_with_their_price_and_the_sample_has_their_sum(office: Office, provider: Provider):
    requests = [ask(number, CHAT, turn("a", "b"[:number])) for number in (1, 2)]
    handed, *_ = office.run(said([], *requests))
    turns = [one for one in office.store.completions if one.finish_reason == TURN]
    assert len(provider.requests) == len(turns) == 2
    assert handed.tokens_in == sum(one.tokens_in for one in turns) > 0
    assert handed.cost_usd == pytest.approx(sum(one.cost_usd or 0.0 for one in turns))
    assert office.budget.night_usd == pytest.approx(handed.cost_usd)


def with_tool(**tool: object) -> Message:
    return turn("a", tools=[{"type": "function", "function": {"name": "f"}, **tool}])


def with_message(**message: object) -> Message:
    return {"model": "model", "messages": [{"role": "user", **message}]}


REFUSED = [
    (CHAT, turn("a", model="gpt-5"), 404, "expected the model"),
    (CHAT, "no JSON", 400, "expected JSON"),
    (CHAT, "[]", 400, "the request: Input should be a valid dictionary"),
    (CHAT, turn("a", n=2), 400, "n: Input should be 1"),
    (CHAT, {"model": "model", "messages": []}, 400, "messages: "),
    (CHAT, with_message(content=[{"type": "image_url", "image_url": "http://x"}]), 400, "messages.0.content.0"),
    (CHAT, with_message(content="a", audio={"id": "x"}), 400, "messages.0.audio: this field is not known"),
    (CHAT, {"model": "model", "messages": [{"role": "root", "content": "a"}]}, 400, "messages.0.role"),
    # What of a provider's own could be reached
    (CHAT, turn("a", tools=[{"type": "web_search"}]), 400, "tools.0"),
    (CHAT, turn("a", tools=[{"type": "function", "urlContext": {}}]), 400, "tools.0"),
    *((CHAT, with_tool(**{name: {}}), 400, f"tools.0.{name}: this field is not known")
      for name in ("urlContext", "googleSearch", "codeExecution", "computer_use", "enterpriseWebSearch", "googleMaps")),
    *((CHAT, turn("a", **{name: "x"}), 400, f"{name}: this field is not known")
      for name in ("api_base", "base_url", "api_key", "fallbacks", "extra_body", "extra_headers", "web_search_options",
                   "custom_llm_provider", "mock_response", "timeout", "functions", "thinking", "modalities")),
    # Values that fail on their way
    (CHAT, json.dumps(turn("a", top_p=float("inf"))), 400, "expected JSON"),
    (CHAT, json.dumps(turn("a", top_p=7)).replace("7", "1e999"), 400, "finite"),
    (CHAT, json.dumps(turn("\ud800")), 400, "Unicode"),
    (CHAT, turn("a", response_format=7), 400, "response_format: "),
    (CHAT, turn("a", max_tokens="many"), 400, "max_tokens: Input should be a valid integer"),
    (CHAT, turn("a", max_tokens=10**30), 400, "64 bits"),
    (CHAT, turn("a", temperature=True), 400, "temperature: "),
    (CHAT, "[" * 900 + "]" * 900, 400, "more than 64 levels"),
    (CHAT, with_tool(parameters=json.loads("[" * 90 + "]" * 90)), 400, "more than 64 levels"),
    (CHAT, " " * (16 * 2**20 + 1), 413, "at most 16 MiB"),
    # Other doors
    ("/v1/embeddings", {}, 404, "there is nothing at"),
    ("/evaluate", program(GIVEN), 400, "nothing has changed"),
    ("/evaluate", {"files": "all"}, 400, "files: "),
    ("/evaluate", '{"files": {"program.py": "\\ud800"}}', 400, "Unicode"),
    ("/sql", {"query": ["SELECT 1"]}, 400, "query: "),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "said_of_it"), REFUSED, ids=range(len(REFUSED)))
def test_what_it_may_not_ask_is_refused_and_seen_in_the_transcript(
    office: Office, provider: Provider, path: str, body: object, status: int, said_of_it: str
):
    answers: list[Message] = []
    handed, *_ = office.run(said(answers, ask(1, path, body)))
    assert answers[0]["status"] == status
    assert said_of_it in answers[0]["body"]
    assert not provider.requests
    (event,) = json.loads(handed.transcript)["events"]
    assert event["event"] == "refusal"


@pytest.mark.parametrize(
    "more",
    [
        {"user": "u", "metadata": {"a": "b"}, "store": False, "stream_options": {"include_usage": True}, "seed": 1},
        {"service_tier": "flex", "logit_bias": {"1": 100}, "functions": None, "tools": [], "n": 1},
    ],
)
def test_what_clients_send_beside_their_request_is_left_out(office: Office, provider: Provider, more: Message):
    office.run(said([], ask(1, CHAT, turn("a", temperature=0.5, **more))))
    (request,) = provider.requests
    assert request["temperature"] == 0.5
    assert not more.keys() & request.keys()


def test_a_request_is_made_anew_of_its_known_fields(office: Office, provider: Provider):
    """As clients of OpenAI's protocol write it: with what the last answer had, null fields and marks for a cache."""
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}, "strict": False}}
    text = {"type": "text", "text": "do", "cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "user", "content": [text], "name": "me"},
        {"role": "assistant", "content": None, "function_call": None, "annotations": [],
         "tool_calls": [{**call, "index": 0}]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]  # fmt: skip
    office.run(
        said([], ask(1, CHAT, {"model": "model", "messages": messages, "tools": [tool], "max_completion_tokens": 9}))
    )
    (request,) = provider.requests
    assert request["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "do"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    assert (request["tools"], request["max_tokens"], request["model"]) == ([tool], 9, "test")


def test_half_a_character_in_an_answer_is_replaced_so_that_it_can_be_sent_again(office: Office, provider: Provider):
    provider.script = lambda number, request: Answer(
        json.dumps(default_response(request, number) | {"choices": [
            {"index": 0, "message": {"role": "assistant", "content": "a\ud83d"}, "finish_reason": "length"}]}).encode()
    )  # fmt: skip
    answers: list[Message] = []
    office.run(said(answers, ask(1, CHAT, turn("a"))))
    assert json.loads(answers[0]["body"])["choices"][0]["message"]["content"] == "a?"


# Whose fault it is


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_provider_refuses_is_told_to_the_agent_alone(
    office: Office, provider: Provider, status: int
):
    """Also the first one that is ever sent: others may be made in another way."""
    provider.script = lambda number, _: (
        Answer({"error": {"message": "temperature is too high"}}, status=status) if number == 0 else None
    )
    answers: list[Message] = []
    handed, *_ = office.run(said(answers, *(ask(number, CHAT, turn(str(number))) for number in (1, 2))))
    assert [one["status"] for one in answers] == [400, 200]
    assert "temperature is too high" in answers[0]["body"]
    assert "x * 2" in handed.text


def test_a_request_that_cannot_be_made_for_the_provider_is_no_outage(provider: Provider):
    """LiteLLM looks for the call of each tool message before it sends anything to Gemini."""
    office, answers = Office(problem(provider.api_base, model="gemini/gemini-2.0-flash")), []
    message = {"role": "tool", "tool_call_id": "none", "content": "done"}
    handed, *_ = office.run(said(answers, ask(1, CHAT, {"model": "model", "messages": [message]})))
    assert answers[0]["status"] == 400
    assert "Missing corresponding tool call" in answers[0]["body"]
    assert not provider.requests
    assert "x * 2" in handed.text


def test_a_request_on_which_the_provider_fails_while_it_answers_others_is_its_agents_fault(
    office: Office, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    is_asked, is_answered = threading.Event(), threading.Event()

    def script(_: int, request: dict[str, Any]) -> Answer | None:
        if request["messages"][0]["content"] == "good":
            assert is_asked.wait(LONG_S)
            return None
        is_asked.set()
        assert is_answered.wait(LONG_S)
        return Answer({"error": {"message": "the schema is too much"}}, status=500)

    provider.script = script
    answers: list[Message] = []

    def agent(job: Message) -> Work:
        is_bad = "prompt 0" in job["task"]
        answer = yield ask(1, CHAT, turn("bad" if is_bad else "good"))
        answers.append(answer)
        if not is_bad:
            is_answered.set()
        yield ended(BETTER)

    wanted = [*office.wanted(0), *office.wanted(1)]
    handed = office.source(agent, at_once=2).submit(wanted, office.record).result(timeout=LONG_S)
    assert [one["status"] for one in answers] == [200, 502]
    assert "the schema is too much" in answers[1]["body"]
    assert [one.error for one in handed if one.sample == 0] == ["", ""]


def test_a_model_that_refuses_every_request_of_several_sessions_ends_the_night(office: Office, provider: Provider):
    provider.script = lambda *_: Answer({"error": {"message": "tools are not supported"}}, status=400)
    agent = said([], ask(1, CHAT, turn("a")))
    for index in range(2):
        office.run(agent, index=index)
    with pytest.raises(TerminalProviderError, match=r"3 sessions .* tools are not supported") as error:
        office.run(agent, index=2)
    assert "another model" in error.value.remedy


def test_ten_sessions_in_a_row_that_bring_nothing_end_the_night_and_each_is_kept(office: Office):
    for index in range(9):
        office.run(just(ended()), index=index)
    office.run(works("def f(x):\n    return x + 7\n", hand_back=GIVEN), index=9)
    for index in range(10, 19):
        office.run(just(ended()), index=index)
    with pytest.raises(TerminalProviderError, match="10 sessions, one after the other, brought no program; the last"):
        office.run(just(ended()), index=19)
    assert len([one for one in office.store.completions if one.error]) == 19


def test_a_model_that_answers_under_another_name_is_the_one_that_was_asked(office: Office, provider: Provider):
    provider.script = lambda number, request: Answer(default_response(request, number) | {"model": "somebody/else"})
    handed, *_ = office.run(said([], ask(1, CHAT, turn("a"))))
    (record,) = [one for one in office.store.completions if one.finish_reason == TURN]
    assert record.model == "openai/test"
    assert (handed.model, handed.error) == ("agent:scripted/openai/test", "")
    assert handed.cost_usd


FRAMES = [
    {"request": 1, "path": CHAT},
    {"request": "1", "path": CHAT, "body": ""},
    {"request": 1, "path": CHAT, "body": ["a"]},
    {"request": 1, "path": CHAT, "body": "", "more": 1},
    {"request": 10**30, "path": CHAT, "body": ""},
    {"ended": [0]},
    {"ended": 0, "files": {"a": 7}},
    ["ended"],
    "\ud800",
    {"request": 1, "path": CHAT, "body": "\ud800"},
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_a_container_that_breaks_the_protocol_has_died(office: Office, frame: Any):
    handed, *_ = office.run(just(frame))
    assert handed.error.startswith("the agent's container ended: ")


def test_a_stream_is_its_turn_as_events(office: Office):
    answers: list[Message] = []
    office.run(said(answers, ask(1, CHAT, turn("a", stream=True))))
    assert answers[0]["type"] == "text/event-stream"
    first, *_, last = answers[0]["body"].strip().split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"]
    assert last == "data: [DONE]"


def test_tool_calls_arrive_as_the_model_made_them(office: Office, provider: Provider):
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    provider.script = lambda *_: Answer({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
    answers: list[Message] = []
    office.run(
        said(
            answers,
            ask(1, CHAT, turn("a", tools=[{"type": "function", "function": {"name": "bash"}}])),
        )
    )
    got = json.loads(answers[0]["body"])["choices"][0]
    assert got["finish_reason"] == "tool_calls"
    assert got["message"]["tool_calls"] == [call]


# Limits


@pytest.mark.parametrize(
    ("limit", "named"),
    [({"turns": 1}, "agent.turns"), ({"tokens": 1}, "agent.tokens"), ({"usd": 1e-9}, "agent.usd")],
)
def test_a_limit_ends_its_turns_and_what_it_has_counts(provider: Provider, limit: dict, named: str):
    office, answers = Office(problem(provider.api_base, **limit)), []
    requests = [ask(number, CHAT, turn(str(number))) for number in (1, 2)]
    handed, *_ = office.run(said(answers, *requests))
    assert [one["status"] for one in answers] == [200, 403]
    assert named in answers[1]["body"]
    assert len(provider.requests) == 1
    assert "x * 2" in handed.text
    assert named in handed.finish_reason


def test_a_spent_budget_ends_its_turns(office: Office, provider: Provider):
    office.budget.limits = BudgetLimits(tokens=1)
    answers: list[Message] = []
    requests = [ask(number, CHAT, turn(str(number))) for number in (1, 2)]
    handed, *_ = office.run(said(answers, *requests))
    assert [one["status"] for one in answers] == [200, 403]
    assert "budget" in answers[1]["body"]
    assert "x * 2" in handed.text


def test_it_has_no_more_programs_scored_than_it_may(office: Office):
    answers: list[Message] = []
    texts = [f"def f(x):\n    return x + {number}\n" for number in range(10, 1010)]
    requests = [ask(number, "/evaluate", program(text)) for number, text in enumerate(texts)]
    completions = office.run(said(answers, *requests))
    assert [one["status"] for one in answers] == [200] * 3 + [403] * 997
    assert "agent.evaluations" in answers[-1]["body"]
    assert len(completions) == 4
    assert len(office.sandbox.evaluated) == 3


def test_one_that_does_not_end_in_time_is_ended(provider: Provider):
    office = Office(problem(provider.api_base, seconds=0.05))
    handed, *_ = office.run(just(ask(1, "/v1/models", ""), {}))
    assert office.backend.started[0].stopped
    assert "ended without a change: this sample's limit of 0.05 s is reached (agent.seconds)" in handed.error
    assert "agent.seconds" in json.loads(handed.transcript)["ended"]


def test_its_time_begins_with_its_first_request(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    now = itertools.count(step=200.0)
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(now))
    one = clock.Clock(1000.0, 300.0)
    assert (one.seconds, one.left_s) == (300.0, 800.0), "it was made at 0, and this is at 200"
    one.start()
    assert one.left_s == 500.0, "700 s from the first request on, and this is 200 s later"
    one.start()
    one.put_to(100.0)
    assert one.left_s == 700.0


def test_one_that_asks_nothing_at_all_is_ended(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "FIRST_REQUEST_S", 0.05)
    office = Office(problem(provider.api_base, seconds=0.01))
    handed, *_ = office.run(just({}))
    assert office.backend.started[0].stopped
    assert "without a change" in handed.error


def test_a_request_has_only_the_time_that_is_left(provider: Provider):
    office, answers, is_over = Office(problem(provider.api_base, seconds=0.3)), [], threading.Event()

    def script(*_: object) -> Answer:
        assert is_over.wait(LONG_S)
        return Answer({"error": {"message": "too late"}}, status=400)

    provider.script = script

    def agent(_: Message) -> Work:
        answers.append((yield ask(1, CHAT, turn("a"))))
        is_over.set()
        yield ended(BETTER)

    handed, *_ = office.run(agent)
    assert answers[0]["status"] == 403
    assert "agent.seconds" in answers[0]["body"]
    assert "agent.seconds" in handed.finish_reason
    assert "x * 2" in handed.text


def test_one_that_asks_again_after_a_refusal_is_ended_and_the_first_reason_is_told(provider: Provider):
    office, answers = Office(problem(provider.api_base, turns=1)), list[Message]()
    handed, *_ = office.run(said(answers, *(ask(number, CHAT, turn("a")) for number in range(9))))
    assert [one["status"] for one in answers] == [200, 403]
    assert office.backend.started[0].stopped
    assert handed.error == (
        "the agent was ended without a change: this sample's limit of 1 answers (agent.turns) is reached"
    )
    assert "agent.turns" in handed.finish_reason


def test_one_that_goes_on_asking_is_ended_all_the_same(provider: Provider):
    def asks(_: Message) -> Work:
        while True:
            yield ask(1, "/v1/models", "")

    office = Office(problem(provider.api_base, seconds=0.1))
    handed, *_ = office.run(asks)
    assert office.backend.started[0].stopped
    assert "without a change" in handed.error


def test_a_second_scoring_of_a_program_tells_what_is_left_and_is_in_the_transcript(office: Office):
    answers: list[Message] = []
    texts = (BETTER, "def f(x):\n    return x + 7\n", BETTER)
    handed, *_ = office.run(
        said(answers, *(ask(number, "/evaluate", program(text)) for number, text in enumerate(texts)))
    )
    assert [json.loads(one["body"])["evaluations_left"] for one in answers] == [2, 1, 1]
    assert len(office.sandbox.evaluated) == 2
    events = json.loads(handed.transcript)["events"]
    assert [(event["sample"], event["answer"]["evaluations_left"]) for event in events] == [(1, 2), (2, 1), (1, 1)]


def test_evaluations_left_are_counted_by_what_the_sample_may_have_yet(office: Office):
    """The night wants three samples only, and an earlier session has had one scored."""
    cut_short(office, ask(1, "/evaluate", program("def f(x):\n    return x + 7\n")))
    jobs, answers = list[Message](), list[Message]()

    def agent(job: Message) -> Work:
        jobs.append(job)
        answers.append((yield ask(1, "/evaluate", program(BETTER))))
        answers.append((yield ask(2, "/evaluate", program("def f(x):\n    return x + 8\n"))))
        yield ended(BETTER)

    office.source(agent).submit(office.wanted()[:3], office.record).result(timeout=LONG_S)
    assert "1 more program" in jobs[0]["task"]
    assert json.loads(answers[0]["body"])["evaluations_left"] == 0
    assert answers[1]["body"] == "all 2 evaluations of this sample are used (the night takes no more samples)"


def test_what_it_is_told_of_a_program_is_what_a_prompt_would_say(office: Office):
    answers: list[Message] = []
    texts = (BETTER, "def f(x):\n    return 1 / 0\n")
    office.run(said(answers, *(ask(number, "/evaluate", program(text)) for number, text in enumerate(texts))))
    scored, crashed = (json.loads(one["body"]) for one in answers)
    assert (scored["score"], scored["score_on_each_input"], scored["evaluations_left"]) == (10.0, [10.0], 2)
    assert crashed["error"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(x):\n    return (x\n", "program.py, line 2: '(' was never closed"),
        ("def g(x, y):\n    return x\n", "it is no program: expected `f(x)` in program.py"),
        ("no program at all", "program.py, line 1: invalid syntax"),
    ],
)
def test_what_is_no_program_is_told_for_nothing(office: Office, text: str, told: str):
    answers: list[Message] = []
    requests = [ask(number, "/evaluate", program(one)) for number, one in enumerate((text, BETTER))]
    handed, *others = office.run(said(answers, *requests))
    assert answers[0]["status"] == 400
    assert told in answers[0]["body"]
    assert json.loads(answers[1]["body"])["evaluations_left"] == 2
    assert [one.finish_reason for one in others] == [UNUSED] * 3, "what it hands back is what it had scored"
    assert "x * 2" in handed.text


class Queries:
    """Answers each query with itself, once as many are asked as there are sessions.

    Attributes:
        opened: All that were opened, in order.
    """

    opened: ClassVar[list[Queries]] = []
    both = threading.Barrier(1)

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_closed = False
        self.opened.append(self)

    def query(self, sql: str, *, timeout_s: float) -> pa.Table:
        self.both.wait(timeout_s)
        self.asked.append(sql)
        return pa.table({"sql": [sql]})

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def queries(office: Office, monkeypatch: pytest.MonkeyPatch) -> type[Queries]:
    monkeypatch.setattr(Queries, "opened", [])
    monkeypatch.setattr(office, "open_history", Queries)
    return Queries


def test_each_session_has_a_process_of_its_own_for_its_queries(
    office: Office, queries: type[Queries], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Queries, "both", threading.Barrier(2))
    number, answers = itertools.count(), list[tuple[str, Message]]()

    def agent(_: Message) -> Work:
        sql = f"SELECT {next(number)}"
        for place in range(20):
            answer = yield ask(place, "/sql", {"query": f"{sql} + {place}"})
            answers.append((f"{sql} + {place}", answer))
        yield ended(BETTER)

    wanted = [*office.wanted(0), *office.wanted(1)]
    office.source(agent, at_once=2).submit(wanted, office.record).result(timeout=LONG_S)
    assert len(answers) == 40
    assert all(json.loads(answer["body"]) == {"sql": sql} for sql, answer in answers)
    assert [len(set(one.asked)) for one in queries.opened] == [20, 20]
    assert all(one.is_closed for one in queries.opened)


def test_a_session_has_only_so_many_queries_and_no_process_without_one(
    office: Office, queries: type[Queries], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("overnight.tasks.agent.queries._MOST_QUERIES", 3)
    office.run(works())
    assert not queries.opened
    answers: list[Message] = []
    asked = [ask(number, "/sql", {"query": f"SELECT {number}"}) for number in range(6)]
    office.run(said(answers, *asked), index=1)
    assert [one["status"] for one in answers] == [200] * 3 + [403] * 3


def test_an_agent_tries_programs_on_drawn_inputs_which_uses_nothing_up(office: Office):
    def try_out(body: str) -> Future[Verdict]:
        if "2" in body:
            raise SpecificationError("`inputs` draws no input for the seed 9", remedy="Correct it.")
        tried: Future[Verdict] = Future()
        tried.set_result(Verdict(Outcome.SCORED, (1.0, 2.0)))
        return tried

    texts = ["return x + 1", "return x + 2", "return (x"]
    asked = [ask(number, "/try", program(f"def f(x):\n    {text}\n")) for number, text in enumerate(texts)]
    refused: list[Message] = []
    office.run(said(refused, asked[0]))
    assert refused[0]["status"] == 404, "this problem draws none"
    office.try_out = try_out
    answers: list[Message] = []
    office.run(said(answers, *asked), index=1)
    assert [one["status"] for one in answers] == [200, 400, 400]
    assert json.loads(answers[0]["body"])["score"] == 1.5
    assert "draws no input for the seed 9" in answers[1]["body"]
    assert "line 2" in answers[2]["body"]
    assert not office.sandbox.evaluated[1:], "no candidate but what was handed back"


def test_the_task_names_the_tool_for_trials_where_there_is_one(office: Office):
    jobs: list[Message] = []

    def agent(job: Message) -> Work:
        jobs.append(job)
        yield ended(BETTER)

    office.run(agent)
    office.try_out = lambda _: Future()
    office.run(agent, index=1)
    assert ["overnight-try" in job["task"] for job in jobs] == ["overnight-try" in job["tools"] for job in jobs]
    assert ["overnight-try" in job["task"] for job in jobs] == [False, True]


def test_a_program_that_is_not_there_is_named_when_it_is_to_be_scored(office: Office):
    answers: list[Message] = []
    office.run(said(answers, ask(1, "/evaluate", {"files": {"other.py": "x = 1"}})))
    assert answers[0]["status"] == 400
    assert "there is no program.py" in answers[0]["body"]


def test_the_error_of_a_trial_names_the_line_of_the_agents_file(office: Office):
    def try_out(body: str) -> Future[Verdict]:
        tried: Future[Verdict] = Future()
        line = read_specification(SPECIFICATION, "double.py").evolved_lines(body)[-1]
        tried.set_result(Verdict(Outcome.CRASHED, error=f"ZeroDivisionError: division, in line {line}, on input 1"))
        return tried

    office.try_out = try_out
    answers: list[Message] = []
    office.run(said(answers, ask(1, "/try", program("def f(x):\n    return x / 0\n"))))
    assert "ZeroDivisionError: division, in line 2, on input 1" in answers[0]["body"]


def test_a_program_that_was_judged_before_is_refused_and_costs_no_evaluation(office: Office):
    office.known = {office.problem.code_hash("return x + 7")}
    answers: list[Message] = []
    texts = ("import os\ndef f(x):\n    return x + 7  # again\n", "def f(x):\n    return x + 8\n")
    _, first, *_ = office.run(
        said(answers, *(ask(number, "/evaluate", program(text)) for number, text in enumerate(texts)))
    )
    assert [one["status"] for one in answers] == [400, 200]
    assert "was judged earlier in this run" in answers[0]["body"]
    assert "there is no history here" in answers[0]["body"]
    assert json.loads(answers[1]["body"])["evaluations_left"] == 2
    assert "x + 8" in first.text


# What is told of it


def test_people_are_told_of_its_start_its_better_programs_and_its_end(office: Office):
    lines: list[str] = []
    states: list[str] = []
    office.sessions = Sessions(lines.append)

    def agent(_: Message) -> Work:
        states.extend(office.sessions.states())
        yield ask(1, CHAT, turn("a"))
        for number, text in enumerate(("return x + 7", "return x", "return x * 3")):
            yield ask(number, "/evaluate", program(f"def f(x):\n    {text}\n"))
        states.extend(office.sessions.states())
        yield ended(BETTER)

    office.run(agent)
    assert [without_seconds(line) for line in lines] == [
        "agent scripted 1: its container has started",
        "agent scripted 1: first request after N s",
        "agent scripted 1: 1 turn, 1 program scored, best 12",
        "agent scripted 1: 1 turn, 3 programs scored, best 15",
        "agent scripted 1: 1 turn, 3 programs scored, best 15; handed a program back after N s",
    ]
    assert list(map(without_seconds, states)) == [
        "scripted 1: starting for N s",
        "scripted 1: 1 turn, 3 programs scored, best 15",
    ]
    assert office.sessions.states() == []


def without_seconds(text: str) -> str:
    return re.sub(r"\d+ s\b", "N s", text)


def test_a_session_that_begins_again_says_how_many_turns_are_from_the_record(office: Office):
    lines: list[str] = []
    office.sessions = Sessions(lines.append)
    cut_short(office, ask(1, CHAT, turn("a")), ask(2, "/evaluate", program("def f(x):\n    return x + 7\n")))
    office.run(said([], ask(1, CHAT, turn("a")), ask(2, CHAT, after(0))))
    assert lines[-4].endswith("its container has started; 1 turn from the record, whose commands run again")
    assert lines[-2].endswith("1 turn (1 of them from the record), 1 program scored, best 12: it goes on from here")
    assert "2 turns (1 of them from the record), 1 program scored, best 12; handed" in lines[-1]


def test_no_session_begins_once_the_night_is_to_end_and_one_under_way_goes_on(office: Office):
    is_open = True
    office.sessions = Sessions(may_begin=lambda: is_open)

    def agent(_: Message) -> Work:
        nonlocal is_open
        is_open = False
        yield ended(BETTER)

    source = office.source(agent, at_once=1)
    completions = source.submit([*office.wanted(0), *office.wanted(1)], office.record).result(timeout=LONG_S)
    assert len({one.prompt for one in completions}) == len(office.backend.started) == 1


# What happens to sessions


def test_a_session_that_was_cut_short_begins_again_and_pays_for_nothing_twice(provider: Provider):
    """Here after each of its requests, the kill leaving what was recorded."""
    first = Office(problem(provider.api_base))
    whole = without_times(first.run(works("def f(x):\n    return x + 7\n")))
    paid = len(provider.requests)
    for kept in range(len(first.store.completions) - len(whole) + 1):
        store = Store()
        store.record(first.store.completions[:kept])
        provider.requests.clear()
        again = Office(first.problem, store)
        completions = without_times(again.run(works("def f(x):\n    return x + 7\n")))
        assert len(provider.requests) == paid - min(kept, 1)
        assert [one.text for one in completions] == [one.text for one in whole]
        assert completions[0].tokens_in == whole[0].tokens_in
        assert completions[0].cost_usd == pytest.approx(whole[0].cost_usd)
        assert json.loads(completions[0].transcript)["events"] == json.loads(whole[0].transcript)["events"]


def calling(number: int) -> Answer:
    """Return a turn that calls a tool with a command of its own."""
    function = {"name": "bash", "arguments": json.dumps({"command": f"date; echo {number} $RANDOM; ls -l"})}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{number}", "type": "function"}]}
    message["tool_calls"][0]["function"] = function
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    return Answer({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def test_turns_of_a_session_whose_commands_print_times_and_random_numbers_are_never_paid_twice(
    office: Office, provider: Provider
):
    """Killed after each of its turns; the last session goes to its end."""
    turns, sessions = 5, 0
    provider.script = lambda *_: calling(len(provider.requests))

    def works_until(last: int, reached: threading.Event) -> Agent:
        def agent(_: Message) -> Work:
            messages: list[Message] = [{"role": "user", "content": f"begin at {time.time()}"}]
            for number in range(last):
                answer = yield ask(number, CHAT, {"model": "model", "messages": messages})
                message = json.loads(answer["body"])["choices"][0]["message"]
                output = f"{time.time()} {random.random()} {sessions}"
                call = message["tool_calls"][0]["id"]
                messages += [message, {"role": "tool", "tool_call_id": call, "content": output}]
                yield ask(100 + number, "/evaluate", program(f"def f(x):\n    return {random.random()}\n"))
            reached.set()
            yield ended(BETTER) if last == turns else {}

        return agent

    for last in range(1, turns):
        reached, sessions = threading.Event(), sessions + 1
        answer = office.source(works_until(last, reached)).submit(office.wanted(), office.record)
        assert reached.wait(LONG_S)
        office.sessions.stop()
        assert answer.result(timeout=LONG_S) == []
        assert len(provider.requests) == last, "no turn is asked again"
    handed, *scored = office.run(works_until(turns, threading.Event()))
    assert len(provider.requests) == turns
    assert handed.tokens_in == 5 * turns
    assert [event["event"] for event in json.loads(handed.transcript)["events"]].count("turn") == turns
    assert {one.finish_reason for one in scored} == {"evaluated"}, "those of sessions that were killed are candidates"


def test_of_two_requests_that_were_asked_at_a_time_each_has_its_own_answer_again(office: Office, provider: Provider):
    asked = [ask(1, CHAT, turn("a title")), ask(2, CHAT, turn("begin"))]
    first, again = list[Message](), list[Message]()
    provider.script = lambda number, _: calling(number)
    cut_short(office, *asked, answers=first)
    office.run(said(again, *reversed(asked)))
    assert len(provider.requests) == 2
    assert [one["body"] for one in again] == [one["body"] for one in reversed(first)]


def test_turns_of_a_session_that_went_another_way_are_paid_and_count(office: Office, provider: Provider):
    """Whatever it says itself: here its model said something else before."""
    cut_short(office, ask(1, CHAT, turn("begin")))
    assert len([one for one in office.store.completions if one.finish_reason == TURN]) == 1
    other = [{"role": "user", "content": "begin"}, {"role": "assistant", "content": "another way"}]
    handed, *_ = office.run(said([], ask(1, CHAT, {"model": "model", "messages": other})))
    turns = [one for one in office.store.completions if one.finish_reason == TURN]
    assert len(provider.requests) == len(turns) == 2
    assert handed.tokens_in == sum(one.tokens_in for one in turns)


def after(number: int) -> Message:
    """Return a request after an answer of the model."""
    return turn("begin") | {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(number)}]
    }


@pytest.mark.parametrize("is_container", [True, False], ids=["container", "night"])
@pytest.mark.parametrize(
    ("limit", "asked", "named"),
    [
        ({"turns": 4}, [(CHAT, after(number)) for number in range(8)], "agent.turns"),
        ({"tokens": 440}, [(CHAT, after(number)) for number in range(8)], "agent.tokens"),
        (
            {"evaluations": 3},
            [("/evaluate", program(f"def f(x):\n    return x + {number}\n")) for number in range(10, 18)],
            "agent.evaluations",
        ),
    ],
    ids=["turns", "tokens", "evaluations"],
)
def test_limits_count_what_earlier_sessions_used_whatever_ended_them(
    provider: Provider, limit: dict, asked: list[tuple[str, Message]], named: str, is_container: bool
):
    """The second session asks for something else, so that nothing is answered from the record."""
    office, answers = Office(problem(provider.api_base, **limit)), []

    def dies(_: Message) -> Work:
        for number, (path, body) in enumerate(asked[:3]):
            yield ask(number, path, body)

    second = said(answers, *(ask(number, path, body) for number, (path, body) in enumerate(asked[3:])))
    if is_container:
        office.run(dies, second)
    else:
        cut_short(office, *(ask(number, path, body) for number, (path, body) in enumerate(asked[:3])))
        Office(office.problem, office.store).run(second)
    used = len([one for one in office.store.completions if one.finish_reason == TURN])
    assert used == next(value for value in (limit.get("turns"), limit.get("evaluations"), 4) if value)
    assert named in answers[-1]["body"]


def test_seconds_of_earlier_sessions_count(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "LAST_S", 0.05)
    office = Office(problem(provider.api_base, seconds=1000))
    Transcript("scripted", office.wanted()[0].prompt, office.record).record(CHAT, {}, 2000.0, key="0" * 16)
    office.run(just(ask(1, "/v1/models", ""), {}))
    assert office.backend.started[0].stopped


def test_the_time_of_a_turn_from_the_record_is_that_which_it_had(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    """The commands between two turns take their time once more."""
    monkeypatch.setattr(clock, "LAST_S", 0.05)
    office = Office(problem(provider.api_base, seconds=1000))
    earlier = Transcript("scripted", office.wanted()[0].prompt, office.record)
    for number, seconds in ((0, 10.0), (1, 2000.0)):
        answer = {"choices": [{"message": {"role": "assistant", "content": str(number)}}]}
        earlier.record(CHAT, answer, seconds, key=turn_hash(turn("a") if number == 0 else after(0)))
    answers: list[Message] = []

    def agent(_: Message) -> Work:
        answers.append((yield ask(1, CHAT, turn("b"))))
        time.sleep(0.2)
        answers.append((yield ask(2, CHAT, after(0))))
        yield ended(BETTER)

    office.run(agent)
    assert [one["status"] for one in answers] == [200, 200]
    assert not provider.requests


def test_a_container_that_dies_is_started_once_more_and_then_is_the_agents_fault(office: Office, provider: Provider):
    def dies(_: Message) -> Work:
        yield ask(1, CHAT, turn("begin"))

    handed, *_ = office.run(dies, works())
    assert "x * 2" in handed.text
    assert len(provider.requests) == 1
    handed, *others = office.run(dies, dies, index=1)
    assert handed.error.startswith("the agent's container ended: exit code 1")
    assert handed.cost_usd
    assert {one.finish_reason for one in others} == {UNUSED}


def test_stopping_ends_sessions_without_an_answer_and_keeps_their_turns(office: Office):
    begun = threading.Event()

    def agent(_: Message) -> Work:
        yield ask(1, CHAT, turn("begin"))
        begun.set()
        yield {}

    answer = office.source(agent).submit(office.wanted(), office.record)
    assert begun.wait(LONG_S)
    office.sessions.stop()
    assert answer.result(timeout=LONG_S) == []
    assert [one.finish_reason for one in office.store.completions] == [TURN]


def test_a_cancelled_answer_ends_its_container(office: Office):
    begun = threading.Event()

    def agent(_: Message) -> Work:
        begun.set()
        yield {}

    answer = office.source(agent).submit(office.wanted(), office.record)
    assert begun.wait(LONG_S)
    assert answer.cancel()
    assert office.backend.started[0].receive(timeout_s=LONG_S) == b"", "its stream is at its end"


def test_no_container_is_started_once_the_night_ends(office: Office):
    office.is_open = False
    assert office.run(works()) == []
    assert not office.backend.started


def test_the_errors_of_its_model_are_those_of_the_night(office: Office, provider: Provider):
    provider.script = lambda *_: Answer({"error": {"message": "no such key"}}, status=401)
    with pytest.raises(TerminalProviderError, match="no such key"):
        office.run(works())


def test_no_more_work_at_a_time_than_may(office: Office):
    inside, most, lock = 0, 0, threading.Lock()
    both = threading.Semaphore(0)

    def agent(_: Message) -> Work:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        yield ask(1, CHAT, turn("begin"))
        with lock:
            inside -= 1
        both.release()
        yield ended(BETTER)

    source = office.source(agent, at_once=2)
    wanted = [one for index in range(6) for one in office.wanted(index)]
    completions = source.submit(wanted, office.record).result(timeout=LONG_S)
    assert len(completions) == 24
    assert most <= 2
