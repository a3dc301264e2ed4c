"""A session of an agent: one prompt, one container, and completions that are paid for once."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.program import TURN, UNUSED
from overnight.tasks.agent import desk, session
from overnight.tasks.agent.transcript import Transcript
from overnight.tasks.sample import endpoint
from overnight.tasks.sample.budget import BudgetLimits
from overnight.tasks.sample.sampler import to_candidates
from overnight.testing.completion_sources import CompletionSourceContract, Make, Store, Subject
from overnight.testing.fake_provider import Answer, Provider, default_response
from tests.agent.scripted import (
    BETTER,
    GIVEN,
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


def cut_short(office: Office, *requests: Message) -> None:
    """Let an agent send requests, and end its session as a kill of the night would."""
    reached = threading.Event()

    def agent(_: Message) -> Work:
        yield from asking(requests, [])
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
    assert all(words in job["task"] for words in ("prompt 0", "You have 3 of these", "`program/program.py`"))
    assert "evaluate(n)" not in json.dumps(job), "the scoring stays outside"


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
    handed, *_ = office.run(just({}))
    assert office.backend.started[0].stopped
    assert "without a change" in handed.error


def test_one_that_goes_on_asking_is_ended_all_the_same(provider: Provider):
    def asks(_: Message) -> Work:
        while True:
            yield ask(1, "/v1/models", "")

    office = Office(problem(provider.api_base, seconds=0.1))
    handed, *_ = office.run(asks)
    assert office.backend.started[0].stopped
    assert "without a change" in handed.error


def test_what_it_is_told_of_a_program_is_what_a_prompt_would_say(office: Office):
    answers: list[Message] = []
    texts = (BETTER, "def f(x):\n    return 1 / 0\n", "no program at all")
    office.run(said(answers, *(ask(number, "/evaluate", program(text)) for number, text in enumerate(texts))))
    scored, crashed, unparsable = (json.loads(one["body"]) for one in answers)
    assert (scored["score"], scored["score_on_each_input"], scored["evaluations_left"]) == (10.0, [10.0], 2)
    assert crashed["error"] == "ZeroDivisionError"
    assert unparsable["outcome"] == "unparsable"


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
    monkeypatch.setattr(desk, "_MOST_QUERIES", 3)
    office.run(works())
    assert not queries.opened
    answers: list[Message] = []
    asked = [ask(number, "/sql", {"query": f"SELECT {number}"}) for number in range(6)]
    office.run(said(answers, *asked), index=1)
    assert [one["status"] for one in answers] == [200] * 3 + [403] * 3


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


def test_turns_of_a_session_that_went_another_way_are_paid_and_count(office: Office, provider: Provider):
    cut_short(office, ask(1, CHAT, turn("one way")))
    assert len([one for one in office.store.completions if one.finish_reason == TURN]) == 1
    handed, *_ = office.run(said([], ask(1, CHAT, turn("another way"))))
    turns = [one for one in office.store.completions if one.finish_reason == TURN]
    assert len(provider.requests) == len(turns) == 2
    assert handed.tokens_in == sum(one.tokens_in for one in turns)


@pytest.mark.parametrize("is_container", [True, False], ids=["container", "night"])
@pytest.mark.parametrize(
    ("limit", "asked", "named"),
    [
        ({"turns": 4}, [(CHAT, turn(f"begin {number}")) for number in range(8)], "agent.turns"),
        ({"tokens": 440}, [(CHAT, turn(f"begin {number}")) for number in range(8)], "agent.tokens"),
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
    monkeypatch.setattr(session, "_LAST_S", 0.05)
    office = Office(problem(provider.api_base, seconds=1000))
    earlier = Transcript("scripted", office.wanted()[0].prompt, office.record, _began=time.monotonic() - 2000)
    earlier.record(CHAT, "0" * 16, {})
    office.run(just({}))
    assert office.backend.started[0].stopped


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
