"""What any provider may do, over real HTTP: what is asked, what is recorded, what is retried and what is not."""

from __future__ import annotations

import time

import pytest

from schemas.errors import TerminalProviderError, TransientProviderError
from schemas.program import Completion, Prompt
from schemas.settings import Sampling
from tasks.sample import endpoint
from tasks.sample.gateway import Gateway, Sample
from tests.provider import Answer, Provider, honest

TEXT = "def f_v0(x):\n    return x + 1\n\ndef f_v1(x):\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)


def ask(provider: Provider, *, samples: int = 1, prompts: int = 1, style: str = "chat", **more) -> list[Completion]:
    name = "openai/test" if style == "chat" else "text-completion-openai/test"
    model = {"name": name, "api_base": provider.api_base, "style": style}
    settings = Sampling.model_validate({"models": [model], **more})
    wanted = [
        Sample(Prompt(index, "0", (), name, style, TEXT, tuple(range(samples))), number)
        for index in range(prompts)
        for number in range(samples)
    ]
    recorded: list[Completion] = []
    gateway = Gateway(settings)
    completions = gateway.sample(wanted, recorded.extend)
    assert sorted(recorded, key=lambda c: (c.prompt, c.sample)) == completions, "what is returned was recorded"
    return completions


def test_a_chat_completion_carries_text_tokens_latency_and_reason(provider: Provider):
    (completion,) = ask(provider)
    assert "def f_v1" in completion.text
    assert (completion.tokens_in, completion.tokens_out) == (100, 20)
    assert completion.latency_s > 0
    assert completion.finish_reason == "stop"
    assert completion.cost_usd is None, "no price is made up for a model that is not known"


def test_settings_reach_the_provider(provider: Provider):
    ask(provider, temperature=0.3, top_p=0.5, max_tokens=77)
    (request,) = provider.requests
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.3, 0.5, 77)
    assert request["messages"] == [{"role": "user", "content": TEXT}]


def test_samples_of_one_prompt_share_a_request_and_its_tokens_are_counted_once(provider: Provider):
    completions = ask(provider, samples=4)
    assert len(provider.requests) == 1
    assert provider.requests[0]["n"] == 4
    assert len({completion.text for completion in completions}) > 1
    assert sum(completion.tokens_in for completion in completions) == 100
    assert sum(completion.tokens_out for completion in completions) == 80


def test_a_provider_that_answers_once_whatever_n_is_asked_singly(provider: Provider):
    provider.script = lambda number, request: Answer(honest({**request, "n": 1}, number))
    completions = ask(provider, samples=3)
    assert [completion.sample for completion in completions] == [0, 1, 2]
    assert len(provider.requests) == 3


def test_a_completion_model_is_sent_the_prompt_as_it_is(provider: Provider):
    (completion,) = ask(provider, style="completion")
    assert provider.requests[0]["prompt"] in (TEXT, [TEXT])
    assert completion.text


def test_requests_in_flight_are_limited_and_wait_for_their_turn(provider: Provider):
    provider.latency_s = 0.1
    begin = time.monotonic()
    assert len(ask(provider, prompts=12, concurrency=4)) == 12
    assert 0.25 < time.monotonic() - begin < 5


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_is_transient_is_asked_again(provider: Provider, status: int):
    provider.script = lambda number, _: Answer({"error": {"message": "later"}}, status=status) if number < 2 else None
    (completion,) = ask(provider, attempts=3)
    assert completion.text
    assert len(provider.requests) == 3, "one layer of retries, none hidden below it"


def test_what_stays_transient_is_given_up_after_the_attempts(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "later"}}, status=503)
    with pytest.raises(TransientProviderError, match="2 attempts"):
        ask(provider, attempts=2)
    assert len(provider.requests) == 2


@pytest.mark.parametrize(("status", "said"), [(401, "key"), (404, "name"), (400, "as it is")])
def test_what_cannot_get_better_costs_one_request(provider: Provider, status: int, said: str):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=status)
    with pytest.raises(TerminalProviderError) as caught:
        ask(provider, attempts=5)
    assert len(provider.requests) == 1
    assert said in caught.value.remedy


def test_a_request_that_hangs_is_timed_out(provider: Provider):
    provider.latency_s = 3.0
    begin = time.monotonic()
    with pytest.raises(TransientProviderError, match="no whole answer"):
        ask(provider, timeout_s=0.5, attempts=1)
    assert time.monotonic() - begin < 2.5


def test_a_server_that_is_not_there_is_transient():
    with Provider() as gone:
        pass
    with pytest.raises(TransientProviderError, match=f"Connection error at {gone.api_base}"):
        ask(gone, attempts=1)


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"<html>", {"choices": []}, {"choices": [{"index": 0, "message": {"role": "assistant"}}]}],
)
def test_a_malformed_answer_is_no_crash(provider: Provider, body: object):
    provider.script = lambda number, _: Answer(body)
    try:
        (completion,) = ask(provider, attempts=1)
    except TransientProviderError:
        return
    assert completion.text == ""


def test_a_prompt_that_the_provider_refuses_is_an_answer_without_text(provider: Provider):
    refusal = {
        "error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"}
    }
    provider.script = lambda number, _: Answer(refusal, status=400)
    (completion,) = ask(provider)
    assert completion.text == ""
    assert "context" in completion.error.lower()


def test_the_built_in_model_takes_the_same_path_and_repeats_by_seed():
    settings = Sampling.model_validate({"models": ["builtin/mutate"]})
    prompt = Prompt(0, "0", (), "builtin/mutate", "completion", TEXT, (7, 7, 8))
    gateway = Gateway(settings)
    first, second, third = gateway.sample([Sample(prompt, number) for number in range(3)], lambda _: None)
    assert first.text == second.text != third.text
    assert first.cost_usd == 0.0
    assert first.tokens_out > 0


def test_an_unknown_built_in_model_is_refused():
    settings = Sampling.model_validate({"models": ["builtin/nothing"], "attempts": 1})
    prompt = Prompt(0, "0", (), "builtin/nothing", "completion", TEXT, (7,))
    gateway = Gateway(settings)
    with pytest.raises(TerminalProviderError, match="no built-in model nothing"):
        gateway.sample([Sample(prompt, 0)], lambda _: None)


def test_one_failure_does_not_lose_the_answers_beside_it(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=401) if number == 3 else None
    model = {"name": "openai/test", "api_base": provider.api_base}
    recorded: list[Completion] = []
    wanted = [Sample(Prompt(index, "0", (), "openai/test", "chat", TEXT, (1,)), 0) for index in range(6)]
    gateway = Gateway(Sampling.model_validate({"models": [model]}))
    with pytest.raises(TerminalProviderError):
        gateway.sample(wanted, recorded.extend)
    assert len(recorded) == 5


def test_requests_are_made_only_while_they_may_be(provider: Provider):
    model = {"name": "openai/test", "api_base": provider.api_base}
    settings = Sampling.model_validate({"models": [model], "concurrency": 1})
    gateway = Gateway(settings, may_ask=lambda: len(provider.requests) < 2)
    wanted = [Sample(Prompt(index, "0", (), "openai/test", "chat", TEXT, (1,)), 0) for index in range(5)]
    assert [completion.prompt for completion in gateway.sample(wanted, lambda _: None)] == [0, 1]
    assert len(provider.requests) == 2


def test_a_server_of_one_s_own_needs_no_key(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(provider)[0].text
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert ask(provider)[0].text


def test_half_an_emoji_at_the_end_of_a_completion_is_no_trouble(provider: Provider):
    choice = (
        '{"index": 0, "message": {"role": "assistant", "content": "return 1  # \\ud83d"}, "finish_reason": "length"}'
    )
    body = f'{{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{choice}]}}'
    provider.script = lambda number, _: Answer(body.encode())
    (completion,) = ask(provider)
    assert completion.text.encode().startswith(b"return 1  # ")
    assert completion.finish_reason == "length"
