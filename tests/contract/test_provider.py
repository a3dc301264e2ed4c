"""Requests, records and retries against a provider that behaves in any way, over real HTTP; the matrix of faults."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.errors import ProviderError, TerminalProviderError, TransientProviderError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample import endpoint
from overnight.tasks.sample.budget import RequestsInFlight
from overnight.tasks.sample.gateway import Gateway, Sample
from overnight.tasks.sample.sampler import Sampler
from overnight.testing.completion_sources import Store
from overnight.testing.fake_provider import Answer, Provider, Request, default_response
from overnight.testing.made import a_problem
from tests.accidents import wait_until

TEXT = "def f_v0(x):\n    return x + 1\n\ndef f_v1(x):\n"
README = (Path(__file__).parents[2] / "flows/README.md").read_text()
PROMPTS, SAMPLES = 3, 2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)


def sampling(provider: Provider, name: str = "openai/test", style: str = "chat", **more: Any) -> Sampling:
    return Sampling.model_validate({"models": [{"name": name, "api_base": provider.api_base, "style": style}], **more})


def samples(prompts: int = 1, each: int = 1, name: str = "openai/test", style: str = "chat") -> list[Sample]:
    made = [Prompt(index, "0", (), name, style, TEXT, tuple(range(each))) for index in range(prompts)]
    return [Sample(prompt, number) for prompt in made for number in range(each)]


def ask(provider: Provider, *, each: int = 1, prompts: int = 1, style: str = "chat", **more: Any) -> list[Completion]:
    name = "openai/test" if style == "chat" else "text-completion-openai/test"
    recorded: list[Completion] = []
    gateway = Gateway(sampling(provider, name, style, **more))
    completions = gateway.sample(samples(prompts, each, name, style), recorded.extend)
    assert sorted(recorded, key=lambda c: (c.prompt, c.sample)) == completions, "all returned completions are recorded"
    return completions


# The matrix: what a provider may do in the middle of a night, what the user sees, and that nothing is lost


def program(request: Request, number: int) -> dict[str, Any]:
    """Return a response whose texts are unique."""
    answer = default_response(request, number)
    for k, choice in enumerate(answer["choices"]):
        choice["message"]["content"] = f"def guess_v2(offset):\n    return offset + {number}.{k}"
    return answer


def changed(change: Callable[[dict[str, Any], int], object]) -> Callable[[Request, int], Answer]:
    """Return a fault that changes each choice of the response."""

    def answer(request: Request, number: int) -> Answer:
        body = program(request, number)
        for choice in body["choices"]:
            change(choice, number)
        return Answer(body)

    return answer


def without_text(choice: dict[str, Any], **message: str) -> None:
    choice["message"] = {"role": "assistant", "content": None, **message}


def cut_short(choice: dict[str, Any], _: int) -> None:
    choice["finish_reason"] = "length"
    choice["message"]["content"] = choice["message"]["content"].replace("return", "if offset:\n        return (")


def filtered(choice: dict[str, Any], _: int) -> None:
    choice["finish_reason"] = "content_filter"
    without_text(choice)


def with_usage(**usage: Any) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer({**program(request, number), "usage": usage or None})


def error(status: int, message: str = "no", **headers: str) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer({"error": {"message": message}}, status=status, headers=headers)


def always(**answer: Any) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer(**answer)


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    Attributes:
        answer: Response of the provider instead of the default one, from its second request on.
        times: How often; by default as often as a sample is asked for, so that the request fails.
        further: Requests beyond one a prompt.
        wait_s: Seconds at least until the next request.
        settings: Of sampling.
    """

    answer: Callable[[Request, int], Answer]
    times: int = 2
    further: int = 2
    wait_s: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)


SLOW = {"times": 1, "further": 1, "settings": {"timeout_s": 1.0, "attempts": 1}}
FAULTS = {
    "401: a wrong key": Fault(error(401, "bad key"), times=1, further=1),
    "404: no such model": Fault(error(404, "no such model"), times=1, further=1),
    "429": Fault(error(429, "slow down")),
    "429 with `Retry-After`": Fault(error(429, "slow down", **{"Retry-After": "1"}), wait_s=1.0),
    "500": Fault(error(500)),
    "503": Fault(error(503)),
    "connection refused": Fault(lambda r, n: Answer(program(r, n), refuse=True), times=1, further=0),
    "connection reset": Fault(always(reset=True)),
    "connection closed half-way": Fault(lambda r, n: Answer(program(r, n), missing=10)),
    "hanging": Fault(always(hang=True), **SLOW),
    "dripping": Fault(always(body=b" " * 1000, drip_s=0.1), **SLOW),
    "truncated JSON": Fault(always(body=b'{"id": "x", "object": "chat.completion", "choices": [{"ind')),
    "no JSON": Fault(always(body=b"<html>Bad gateway</html>")),
    "an empty body": Fault(always(body=b"")),
    "empty `choices`": Fault(always(body={"id": "x", "object": "chat.completion", "created": 1, "choices": []})),
    "`finish_reason` `length`": Fault(changed(cut_short), further=0),
    "refusal": Fault(changed(lambda one, n: without_text(one, refusal=f"I cannot help with {n}.")), further=0),
    "content filter": Fault(changed(filtered), further=0),
    "prompt too long": Fault(error(400, "This model's maximum context length is 10 tokens."), further=0),
    "usage is missing": Fault(with_usage(), further=0),
    "usage is negative": Fault(with_usage(prompt_tokens=-5, completion_tokens=-1, total_tokens=-6), further=0),
    "usage is absurd": Fault(with_usage(prompt_tokens=10**12, completion_tokens=1, total_tokens=10**12), further=0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_loses_a_sample_or_pays_for_one_twice(name: str, provider: Provider):
    fault, store = FAULTS[name], Store()

    def script(number: int, request: Request) -> Answer:
        return fault.answer(request, number) if 1 <= number <= fault.times else Answer(program(request, number))

    provider.script = script
    model = {"name": "openai/test", "api_base": provider.api_base, "input_usd": 1.0, "output_usd": 2.0}
    settings = Sampling.model_validate({"models": [model], "attempts": 2, "concurrency": 1, **fault.settings})
    seen, completions = sample_like_nights(settings, store, provider.listen_again)
    assert len(completions) == PROMPTS * SAMPLES, "no sample is lost"
    sold = [choice["message"]["content"] for answer in provider.responses for choice in answer["choices"]]
    assert texts(one.text for one in completions) == texts(sold), "none is paid for twice"
    assert len(provider.requests) == PROMPTS + fault.further
    assert provider.request_times[2] - provider.request_times[1] >= fault.wait_s
    assert_books_are_right(completions, provider, usage_is_wrong=name.startswith("usage"))
    for words in re.findall(r"`(.+?)`", matrix()[name]):
        assert any(words in one for one in seen), f"{words!r}, which the README promises, is not among {seen}"
    sample_like_nights(settings, store)
    assert len(provider.requests) == PROMPTS + fault.further, "what is stored is not asked for again"


def sample_like_nights(
    settings: Sampling, store: Store, on_failure: Callable[[], object] = lambda: None
) -> tuple[list[str], Sequence[Completion]]:
    """Sample until a generation is complete; return what was told of faults, and the completions.

    After a pause, a night asks the same gateway again; after a terminal error, the next night has another one.
    """
    text = "Improve the function, and keep to its header.\n" * 10
    asked = [Prompt(n, "0", ("p", "q"), "openai/test", "chat", f"{text}{n}", (1, 2)) for n in range(PROMPTS)]
    seen: list[str] = []
    while len(seen) < 50:
        gateway = Gateway(settings)
        sampler = Sampler(a_problem(samples=SAMPLES), lambda _, models=gateway: models, lambda _: store)
        while len(seen) < 50:
            try:
                candidates = sampler.sample(1, asked)
            except ProviderError as failure:
                seen.append(f"{failure.message} {failure.remedy}")
                on_failure()
                sampler.finish(timeout_s=10)
                if isinstance(failure, TerminalProviderError):
                    break
                time.sleep(0.01)
            else:
                verdicts = [one.verdict.error for one in candidates if one.verdict is not None]
                return [*seen, *verdicts, *(one.finish_reason for one in store.completions)], store.completions
    raise AssertionError(seen)


def texts(given: Iterable[str | None]) -> Counter[str]:
    return Counter(text for text in given if text)


def assert_books_are_right(completions: Sequence[Completion], provider: Provider, *, usage_is_wrong: bool) -> None:
    tokens_in, tokens_out = (sum(getattr(one, name) for one in completions) for name in ("tokens_in", "tokens_out"))
    assert sum(one.cost_usd or 0.0 for one in completions) == pytest.approx(tokens_in * 1e-6 + tokens_out * 2e-6)
    if usage_is_wrong:
        letters = sum(len(request["messages"][0]["content"]) for request in provider.requests)
        assert letters / 10 < tokens_in < letters
    else:
        assert (tokens_in, tokens_out) == (100 * len(provider.responses), 40 * len(provider.responses))


def matrix() -> dict[str, str]:
    """The README's table: what is seen, by fault."""
    (table,) = re.findall(r"^\| fault \|.*\n\|---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
    return {fault: seen for fault, _, seen in cells}


def test_the_readme_has_one_row_a_fault():
    assert list(matrix()) == list(FAULTS)


# Requests


def test_a_chat_completion_has_text_tokens_latency_and_finish_reason(provider: Provider):
    (completion,) = ask(provider, temperature=0.3, top_p=0.5, max_tokens=77)
    assert "def f_v1" in completion.text
    assert (completion.tokens_in, completion.tokens_out) == (100, 20)
    assert completion.latency_s > 0
    assert completion.finish_reason == "stop"
    assert completion.cost_usd is None, "an unknown model has no price"
    (request,) = provider.requests
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.3, 0.5, 77)
    assert request["messages"] == [{"role": "user", "content": TEXT}]


def test_a_completion_model_is_sent_the_unchanged_prompt(provider: Provider):
    (completion,) = ask(provider, style="completion")
    assert provider.requests[0]["prompt"] in (TEXT, [TEXT])
    assert completion.text


def test_a_request_is_in_flight_from_when_it_is_sent_until_it_is_answered_or_has_failed(provider: Provider):
    requests, counted = RequestsInFlight(), list[int]()

    def fail_first(number: int, _: Request) -> Answer | None:
        counted.append(requests.count())
        return Answer({"error": {"message": "busy"}}, status=500) if number == 0 else None

    provider.script = fail_first
    Gateway(sampling(provider), in_flight=requests).sample(samples(), lambda _: None)
    assert counted == [1, 1]
    assert requests.count() == 0


def test_a_date_says_when_to_ask_again_too(provider: Provider):
    """A date has whole seconds."""

    def refuse_first(number: int, request: Request) -> Answer:
        later = formatdate(time.time() + 2, usegmt=True)
        return (
            error(429, "slow down", **{"Retry-After": later})(request, number)
            if number == 0
            else Answer(program(request, number))
        )

    provider.script = refuse_first
    assert len(ask(provider, attempts=2)) == 1
    assert provider.request_times[1] - provider.request_times[0] >= 1.0


def test_samples_of_one_prompt_share_a_request_whose_prompt_tokens_are_counted_once(provider: Provider):
    completions = ask(provider, each=4)
    assert [request["n"] for request in provider.requests] == [4]
    assert len({completion.text for completion in completions}) > 1
    assert sum(completion.tokens_in for completion in completions) == 100
    assert sum(completion.tokens_out for completion in completions) == 80


def test_a_provider_that_ignores_n_is_sent_one_request_per_sample(provider: Provider):
    provider.script = lambda number, request: Answer(default_response({**request, "n": 1}, number))
    completions = ask(provider, each=3)
    assert [completion.sample for completion in completions] == [0, 1, 2]
    assert len(provider.requests) == 3


def test_the_number_of_requests_in_flight_is_limited(provider: Provider):
    provider.latency_s = 0.1
    begin = time.monotonic()
    assert len(ask(provider, prompts=12, concurrency=4)) == 12
    assert time.monotonic() - begin > 0.25


def test_all_samples_of_a_wide_night_are_asked_for_at_once_where_no_number_of_requests_is_set(provider: Provider):
    all_are_there = threading.Barrier(40)

    def answer(number: int, request: Request) -> Answer:
        all_are_there.wait(60)
        return Answer(default_response(request, number))

    provider.script = answer
    assert len(ask(provider, prompts=40)) == 40


def test_no_requests_are_sent_once_may_ask_returns_false(provider: Provider):
    gateway = Gateway(sampling(provider, concurrency=1), may_ask=lambda: len(provider.requests) < 2)
    assert [completion.prompt for completion in gateway.sample(samples(5), lambda _: None)] == [0, 1]
    assert len(provider.requests) == 2


def test_what_failed_is_not_sent_again_once_may_ask_returns_false(provider: Provider):
    provider.script = lambda *_: Answer(status=503)
    gateway = Gateway(sampling(provider, attempts=5), may_ask=lambda: not provider.requests)
    assert gateway.sample(samples(1), lambda _: None) == []
    assert len(provider.requests) == 1


ASKS = f"""
import sys
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample.gateway import Gateway, Sample

asked = Sample(Prompt(0, "0", (), "openai/test", "chat", {TEXT!r}, (0,)), 0)
print(Gateway(Sampling.model_validate_json(sys.argv[1])).sample([asked], lambda _: None)[0].text)
"""


def test_an_answer_that_comes_while_the_process_is_stopped_for_longer_than_the_time_out_is_taken(provider: Provider):
    def script(number: int, request: Request) -> Answer:
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        return Answer(program(request, number))

    provider.script, timeout_s = script, 2.0
    settings = sampling(provider, timeout_s=timeout_s, attempts=3).model_dump_json()
    with subprocess.Popen([sys.executable, "-c", ASKS, settings], stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: bool(provider.responses))
        time.sleep(timeout_s + 0.2)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=60)
    assert output.strip() == provider.responses[0]["choices"][0]["message"]["content"]
    assert len(provider.requests) == 1


@pytest.mark.parametrize("key", [None, ""])
def test_a_self_hosted_server_needs_no_key(key: str | None, provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    assert ask(provider)[0].text


# Errors


def test_a_request_that_the_provider_refuses_from_the_start_is_not_retried(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=400)
    with pytest.raises(TerminalProviderError) as caught:
        ask(provider, attempts=5)
    assert len(provider.requests) == 1
    assert "as it is" in caught.value.remedy


TOO_LONG = "Requested tokens (732) exceed context window of 512"


@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_that_is_too_long_is_its_samples_outcome_whatever_the_status(provider: Provider, status: int):
    provider.script = lambda number, request: error(status, TOO_LONG)(request, number) if number == 0 else None
    refused, answered = ask(provider, prompts=2, concurrency=1, attempts=3)
    assert TOO_LONG in refused.error
    assert answered.text
    assert len(provider.requests) == 2


def test_a_limit_of_tokens_a_minute_is_no_prompt_that_is_too_long(provider: Provider):
    words = "input is too long: the context limit of your tier is 1000 tokens a minute"
    provider.script = lambda number, request: error(429, words)(request, number) if number == 0 else None
    assert ask(provider, attempts=2)[0].text


def test_a_model_that_refuses_many_prompts_in_a_row_ends_the_night_with_a_remedy(provider: Provider):
    provider.script = lambda number, request: None if number == 0 else error(400, TOO_LONG)(request, number)
    with pytest.raises(TerminalProviderError, match="20 requests in a row were refused") as caught:
        ask(provider, prompts=30, concurrency=1)
    assert TOO_LONG in caught.value.message
    assert "a longer context" in caught.value.remedy
    assert len(provider.requests) == 21


def test_refusals_between_answers_are_their_samples_outcome_alone(provider: Provider):
    provider.script = lambda number, request: error(400, TOO_LONG)(request, number) if number % 4 else None
    completions = ask(provider, prompts=60, concurrency=1)
    assert sum(bool(completion.error) for completion in completions) == 45


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


def test_a_connection_error_is_transient_and_names_the_address():
    with Provider() as stopped:
        pass
    with pytest.raises(TransientProviderError, match=f"Connection error at {stopped.api_base}"):
        ask(stopped, attempts=1)


def test_other_completions_are_recorded_if_one_request_fails(provider: Provider):
    provider.script = lambda number, _: Answer({"error": {"message": "no"}}, status=401) if number == 3 else None
    recorded: list[Completion] = []
    with pytest.raises(TerminalProviderError):
        Gateway(sampling(provider)).sample(samples(6), recorded.extend)
    assert len(recorded) == 5


def test_a_choice_without_text_is_an_empty_completion(provider: Provider):
    provider.script = lambda *_: Answer({"choices": [{"index": 0, "message": {"role": "assistant"}}]})
    assert [completion.text for completion in ask(provider)] == [""]


def test_half_an_emoji_at_the_end_of_a_completion_is_replaced(provider: Provider):
    choice = (
        '{"index": 0, "message": {"role": "assistant", "content": "return 1  # \\ud83d"}, "finish_reason": "length"}'
    )
    body = f'{{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{choice}]}}'
    provider.script = lambda number, _: Answer(body.encode())
    (completion,) = ask(provider)
    assert completion.text.encode().startswith(b"return 1  # ")
    assert completion.finish_reason == "length"


# The built-in model


def test_the_built_in_model_is_requested_like_others_and_is_determined_by_the_seed():
    prompt = Prompt(0, "0", (), "builtin/mutate", "completion", TEXT, (7, 7, 8))
    gateway = Gateway(Sampling.model_validate({"models": ["builtin/mutate"]}))
    first, second, third = gateway.sample([Sample(prompt, number) for number in range(3)], lambda _: None)
    assert first.text == second.text != third.text
    assert first.cost_usd == 0.0
    assert first.tokens_out > 0
