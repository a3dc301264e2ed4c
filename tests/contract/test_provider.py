"""Test requests, records and retries against a provider that behaves in any way, over real HTTP."""

from __future__ import annotations

import time
import traceback

import pytest

from schemas.errors import ProviderError, TerminalProviderError, TransientProviderError
from schemas.program import Completion, Prompt
from schemas.sampling_settings import Sampling
from tasks.sample import endpoint
from tasks.sample.budget import RequestsInFlight
from tasks.sample.gateway import Gateway, Sample
from tests.provider import Answer, Provider, Request, default_response

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
    assert sorted(recorded, key=lambda c: (c.prompt, c.sample)) == completions, "all returned completions are recorded"
    return completions


def test_a_chat_completion_has_text_tokens_latency_and_finish_reason(provider: Provider):
    (completion,) = ask(provider)
    assert "def f_v1" in completion.text
    assert (completion.tokens_in, completion.tokens_out) == (100, 20)
    assert completion.latency_s > 0
    assert completion.finish_reason == "stop"
    assert completion.cost_usd is None, "an unknown model has no price"


def test_sampling_settings_are_sent_to_the_provider(provider: Provider):
    ask(provider, temperature=0.3, top_p=0.5, max_tokens=77)
    (request,) = provider.requests
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.3, 0.5, 77)
    assert request["messages"] == [{"role": "user", "content": TEXT}]


def test_a_request_is_in_flight_from_when_it_is_sent_until_it_is_answered_or_has_failed():
    requests, counted = RequestsInFlight(), list[int]()

    def fail_first(number: int, _: Request) -> Answer | None:
        counted.append(requests.count())
        return Answer({"error": {"message": "busy"}}, status=500) if number == 0 else None

    with Provider(fail_first) as provider:
        model = {"name": "openai/test", "api_base": provider.api_base}
        gateway = Gateway(Sampling.model_validate({"models": [model]}), in_flight=requests)
        gateway.sample([Sample(Prompt(0, "0", (), "openai/test", "chat", TEXT, (1,)), 0)], lambda _: None)
    assert counted == [1, 1]
    assert requests.count() == 0


def test_samples_of_one_prompt_share_a_request_whose_prompt_tokens_are_counted_once(provider: Provider):
    completions = ask(provider, samples=4)
    assert len(provider.requests) == 1
    assert provider.requests[0]["n"] == 4
    assert len({completion.text for completion in completions}) > 1
    assert sum(completion.tokens_in for completion in completions) == 100
    assert sum(completion.tokens_out for completion in completions) == 80


def test_a_provider_that_ignores_n_is_sent_one_request_per_sample(provider: Provider):
    provider.script = lambda number, request: Answer(default_response({**request, "n": 1}, number))
    completions = ask(provider, samples=3)
    assert [completion.sample for completion in completions] == [0, 1, 2]
    assert len(provider.requests) == 3


def test_a_completion_model_is_sent_the_unchanged_prompt(provider: Provider):
    (completion,) = ask(provider, style="completion")
    assert provider.requests[0]["prompt"] in (TEXT, [TEXT])
    assert completion.text


def test_the_number_of_requests_in_flight_is_limited(provider: Provider):
    provider.latency_s = 0.1
    begin = time.monotonic()
    assert len(ask(provider, prompts=12, concurrency=4)) == 12
    assert time.monotonic() - begin > 0.25


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_error_is_retried(provider: Provider, status: int):
    provider.script = lambda number, _: Answer({"error": {"message": "later"}}, status=status) if number < 2 else None
    (completion,) = ask(provider, attempts=3)
    assert completion.text
    assert len(provider.requests) == 3, "only one layer retries"


def test_a_lasting_transient_error_is_raised_after_the_last_attempt(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "later"}}, status=503)
    with pytest.raises(TransientProviderError, match="2 attempts"):
        ask(provider, attempts=2)
    assert len(provider.requests) == 2


@pytest.mark.parametrize(("status", "remedy"), [(401, "key"), (404, "name"), (400, "as it is")])
def test_a_terminal_error_is_not_retried(provider: Provider, status: int, remedy: str):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=status)
    with pytest.raises(TerminalProviderError) as caught:
        ask(provider, attempts=5)
    assert len(provider.requests) == 1
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_key_that_the_provider_repeats_is_in_no_error(
    provider: Provider, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    provider.script = lambda *_: Answer({"error": {"message": "x" * 230 + ": wrong key sk-0123456789"}}, status=status)
    with pytest.raises(ProviderError) as caught:
        ask(provider, attempts=1)
    assert "wrong key …" in caught.value.message
    assert "sk-01" not in "".join(traceback.format_exception(caught.value)), "which Prefect logs"
    assert "sk-01" not in repr(caught.value)


def test_a_request_without_a_response_times_out(provider: Provider):
    provider.latency_s = 3.0
    with pytest.raises(TransientProviderError, match="no complete response"):
        ask(provider, timeout_s=0.5, attempts=1)


def test_a_connection_error_is_transient_and_names_the_address():
    with Provider() as stopped:
        pass
    with pytest.raises(TransientProviderError, match=f"Connection error at {stopped.api_base}"):
        ask(stopped, attempts=1)


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"<html>", {"choices": []}, {"choices": [{"index": 0, "message": {"role": "assistant"}}]}],
)
def test_a_malformed_response_is_a_transient_error_or_an_empty_completion(provider: Provider, body: object):
    provider.script = lambda number, _: Answer(body)
    try:
        (completion,) = ask(provider, attempts=1)
    except TransientProviderError:
        return
    assert completion.text == ""


def test_a_refused_prompt_gives_a_completion_without_text(provider: Provider):
    refusal = {
        "error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"}
    }
    provider.script = lambda number, _: Answer(refusal, status=400)
    (completion,) = ask(provider)
    assert completion.text == ""
    assert "context" in completion.error.lower()


def test_the_built_in_model_is_requested_like_others_and_is_determined_by_the_seed():
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


def test_other_completions_are_recorded_if_one_request_fails(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=401) if number == 3 else None
    model = {"name": "openai/test", "api_base": provider.api_base}
    recorded: list[Completion] = []
    wanted = [Sample(Prompt(index, "0", (), "openai/test", "chat", TEXT, (1,)), 0) for index in range(6)]
    gateway = Gateway(Sampling.model_validate({"models": [model]}))
    with pytest.raises(TerminalProviderError):
        gateway.sample(wanted, recorded.extend)
    assert len(recorded) == 5


def test_no_requests_are_sent_once_may_ask_returns_false(provider: Provider):
    model = {"name": "openai/test", "api_base": provider.api_base}
    settings = Sampling.model_validate({"models": [model], "concurrency": 1})
    gateway = Gateway(settings, may_ask=lambda: len(provider.requests) < 2)
    wanted = [Sample(Prompt(index, "0", (), "openai/test", "chat", TEXT, (1,)), 0) for index in range(5)]
    assert [completion.prompt for completion in gateway.sample(wanted, lambda _: None)] == [0, 1]
    assert len(provider.requests) == 2


def test_a_self_hosted_server_needs_no_key(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(provider)[0].text
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert ask(provider)[0].text


def test_half_an_emoji_at_the_end_of_a_completion_is_replaced(provider: Provider):
    choice = (
        '{"index": 0, "message": {"role": "assistant", "content": "return 1  # \\ud83d"}, "finish_reason": "length"}'
    )
    body = f'{{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{choice}]}}'
    provider.script = lambda number, _: Answer(body.encode())
    (completion,) = ask(provider)
    assert completion.text.encode().startswith(b"return 1  # ")
    assert completion.finish_reason == "length"
