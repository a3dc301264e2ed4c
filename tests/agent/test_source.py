"""A session of an agent: one prompt, one container, and completions that are paid for once."""

from __future__ import annotations

import json
import threading

import pytest

from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.program import TURN, UNUSED
from overnight.tasks.sample.budget import BudgetLimits
from overnight.tasks.sample.sampler import to_candidates
from overnight.testing.completion_sources import CompletionSourceContract, Make, Store, Subject
from overnight.testing.fake_provider import Answer, Provider
from tests.agent.scripted import (
    BETTER,
    GIVEN,
    Agent,
    Message,
    Office,
    Work,
    ask,
    ended,
    just,
    problem,
    program,
    turn,
    without_times,
)

LONG_S = 60.0


@pytest.fixture
def office(provider: Provider) -> Office:
    return Office(problem(provider.api_base))


def works(*texts: str, hand_back: str = BETTER) -> Agent:
    """Return an agent that has one turn of its model and has programs scored, before it hands one back."""

    def agent(_: Message) -> Work:
        answer = yield ask(1, "/v1/chat/completions", turn("begin"))
        assert json.loads(answer["body"])["choices"][0]["message"]["content"]
        for number, text in enumerate(texts, start=2):
            yield ask(number, "/evaluate", program(text))
        yield ended(hand_back, IDEA_md="doubled")

    return agent


def said(answers: list[Message], *requests: Message) -> Agent:
    """Return an agent that sends requests and keeps the answers."""

    def agent(_: Message) -> Work:
        for request in requests:
            answer = yield request
            answers.append(answer)
        yield ended(BETTER)

    return agent


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
    requests = [ask(number, "/v1/chat/completions", turn("a", "b"[:number])) for number in (1, 2)]
    handed, *_ = office.run(said([], *requests))
    turns = [one for one in office.store.completions if one.finish_reason == TURN]
    assert len(provider.requests) == len(turns) == 2
    assert handed.tokens_in == sum(one.tokens_in for one in turns) > 0
    assert handed.cost_usd == pytest.approx(sum(one.cost_usd or 0.0 for one in turns))
    assert office.budget.night_usd == pytest.approx(handed.cost_usd)


@pytest.mark.parametrize(
    ("path", "body", "status", "said_of_it"),
    [
        ("/v1/chat/completions", turn("a", model="gpt-5"), 404, "expected the model"),
        ("/v1/chat/completions", "no JSON", 400, "expected a JSON object"),
        ("/v1/chat/completions", turn("a", n=2), 400, "expected n = 1"),
        (
            "/v1/chat/completions",
            {
                "model": "model",
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]}],
            },
            400,
            "text alone",
        ),
        ("/v1/chat/completions", turn("a", tools=[{"type": "web_search"}]), 400, "type function"),
        ("/v1/embeddings", {}, 404, "there is nothing at"),
        ("/evaluate", program(GIVEN), 400, "nothing has changed"),
        ("/evaluate", {"files": "all"}, 400, "nothing has changed"),
    ],
)
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


def test_parts_of_a_request_that_could_reach_elsewhere_are_left_out(office: Office, provider: Provider):
    request = turn("a", api_base="http://127.0.0.1:1", api_key="k", fallbacks=["x"], user="u", temperature=0.5)
    office.run(said([], ask(1, "/v1/chat/completions", request)))
    assert provider.requests[0]["temperature"] == 0.5
    assert not {"api_base", "api_key", "fallbacks", "user"} & provider.requests[0].keys()


def test_a_stream_is_its_turn_as_events(office: Office):
    answers: list[Message] = []
    office.run(said(answers, ask(1, "/v1/chat/completions", turn("a", stream=True))))
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
            ask(1, "/v1/chat/completions", turn("a", tools=[{"type": "function", "function": {"name": "bash"}}])),
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
    requests = [ask(number, "/v1/chat/completions", turn(str(number))) for number in (1, 2)]
    handed, *_ = office.run(said(answers, *requests))
    assert [one["status"] for one in answers] == [200, 403]
    assert named in answers[1]["body"]
    assert len(provider.requests) == 1
    assert "x * 2" in handed.text
    assert named in handed.finish_reason


def test_a_spent_budget_ends_its_turns(office: Office, provider: Provider):
    office.budget.limits = BudgetLimits(tokens=1)
    answers: list[Message] = []
    requests = [ask(number, "/v1/chat/completions", turn(str(number))) for number in (1, 2)]
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
    request = ask(1, "/v1/chat/completions", turn("one way"))
    with pytest.raises(TimeoutError):
        office.source(said([], request, {})).submit(office.wanted(), office.record).result(timeout=0.5)
    office.sessions.stop()
    assert len([one for one in office.store.completions if one.finish_reason == TURN]) == 1
    handed, *_ = office.run(said([], ask(1, "/v1/chat/completions", turn("another way"))))
    turns = [one for one in office.store.completions if one.finish_reason == TURN]
    assert len(provider.requests) == len(turns) == 2
    assert handed.tokens_in == sum(one.tokens_in for one in turns)


def test_a_container_that_dies_is_started_once_more_and_then_is_the_agents_fault(office: Office, provider: Provider):
    def dies(_: Message) -> Work:
        yield ask(1, "/v1/chat/completions", turn("begin"))

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
        yield ask(1, "/v1/chat/completions", turn("begin"))
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
        yield ask(1, "/v1/chat/completions", turn("begin"))
        with lock:
            inside -= 1
        both.release()
        yield ended(BETTER)

    source = office.source(agent, at_once=2)
    wanted = [one for index in range(6) for one in office.wanted(index)]
    completions = source.submit(wanted, office.record).result(timeout=LONG_S)
    assert len(completions) == 24
    assert most <= 2
