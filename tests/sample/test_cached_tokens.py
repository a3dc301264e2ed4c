"""Prompt tokens that a provider read from its cache are counted, and cost what they cost there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from overnight.schemas.completion_source import Sample
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.batch_api import usage_of
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.provider import price_of
from overnight.tasks.sample.providers import Price, ReportedUsage, check_usage
from overnight.testing.fake_provider import Answer, Provider, Request, default_response

PRICE = Price(input_usd=4e-6, output_usd=8e-6, cached_usd=1e-6)
TEXT = "def f_v0(x):\n    return x + 1\n\ndef f_v1(x):\n"


def usage(cached: Any, price: Price | None = PRICE, cost: float | None = None):
    return check_usage(ReportedUsage(100, 10, cost, cached), "x" * 400, ["y" * 40], price=price, counted=(1, 1))


def test_cached_tokens_are_among_the_prompt_tokens_and_have_their_own_price():
    assert usage(60).tokens_in == 100
    assert usage(60).tokens_cached == 60
    assert usage(60).cost_usd == pytest.approx(40 * 4e-6 + 60 * 1e-6 + 10 * 8e-6)


def test_without_a_price_for_them_they_cost_what_others_cost():
    assert usage(60, Price(4e-6, 8e-6)).cost_usd == pytest.approx(100 * 4e-6 + 10 * 8e-6)
    assert usage(60, None).cost_usd is None


@pytest.mark.parametrize("absurd", [None, -1, 101, "60", 1.5])
def test_a_number_that_cannot_be_true_counts_as_none(absurd: Any):
    assert usage(absurd).tokens_cached == 0
    assert usage(absurd).cost_usd == usage(0).cost_usd


def test_the_cost_that_the_provider_s_client_computed_is_taken_as_it_is():
    assert (usage(60, cost=0.5).cost_usd, usage(60, cost=0.5).tokens_cached) == (0.5, 60)


def test_the_price_is_that_of_the_settings_or_of_litellm():
    own = Model(name="openai/m", input_usd=2.0, output_usd=8.0, cached_usd=0.5)
    assert price_of(own) == Price(2e-6, 8e-6, 0.5e-6)
    known = price_of(Model(name="openai/gpt-5-mini"))
    assert known is not None
    assert known.cached_usd is not None
    assert 0 < known.cached_usd < known.input_usd


def test_a_price_of_cached_tokens_alone_is_refused():
    with pytest.raises(ValidationError, match="cached_usd must be given together with input_usd"):
        Model(name="m", cached_usd=1.0)


def with_usage(**details: Any):
    def script(number: int, request: Request) -> Answer:
        return Answer({**default_response(request, number), "usage": details})

    return script


def ask(provider: Provider, name: str = "openai/test", system: str = "You improve.", **model: Any) -> Completion:
    settings = Sampling.model_validate({"models": [{"name": name, "api_base": provider.api_base, **model}]})
    prompt = Prompt(0, "0", (), name, "chat", TEXT, (1,), system=system)
    (completion,) = Gateway(settings).sample([Sample(prompt, 0)], lambda _: None)
    return completion


def test_openai_s_count_reaches_the_completion(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    details = {"cached_tokens": 80}
    provider.script = with_usage(prompt_tokens=100, completion_tokens=20, prompt_tokens_details=details)
    completion = ask(provider, input_usd=4.0, output_usd=8.0, cached_usd=1.0)
    assert (completion.tokens_in, completion.tokens_cached, completion.tokens_out) == (100, 80, 20)
    assert completion.cost_usd == pytest.approx((20 * 4 + 80 * 1 + 20 * 8) * 1e-6)


def test_a_provider_that_counts_none_has_none(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    completion = ask(provider)
    assert completion.tokens_cached == 0
    system, user = provider.requests[0]["messages"]
    assert (system["content"], user["content"]) == ("You improve.", TEXT), "it caches by itself, nothing is marked"


def of_anthropic(number: int, request: Request) -> Answer:
    counts = {"input_tokens": 20, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 10, "output_tokens": 5}
    return Answer(
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": "def f_v1(x):\n    return x + 2"}],
            "stop_reason": "end_turn",
            "usage": counts,
        }
    )


def test_claude_is_asked_to_cache_the_system_message(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    provider.script = of_anthropic
    completion = ask(provider, "anthropic/claude-haiku-4-5")
    (block,) = provider.requests[0]["system"]
    assert (block["text"], block["cache_control"]) == ("You improve.", {"type": "ephemeral"})
    (message,) = provider.requests[0]["messages"]
    assert "cache_control" not in str(message), "the versions differ from prompt to prompt"
    assert (completion.tokens_in, completion.tokens_cached, completion.tokens_out) == (100, 70, 5)
    price = price_of(Model(name="anthropic/claude-haiku-4-5"))
    assert price is not None
    assert price.cached_usd is not None
    written = 10 * price.input_usd * 1.25
    assert completion.cost_usd == pytest.approx(
        20 * price.input_usd + 70 * price.cached_usd + written + 5 * price.output_usd
    )


def test_without_a_system_message_nothing_is_marked(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    provider.script = of_anthropic
    ask(provider, "anthropic/claude-haiku-4-5", system="")
    assert "cache_control" not in str(provider.requests[0])


def test_rows_of_batch_jobs_have_them_too():
    model = Model(name="openai/m", input_usd=4.0, output_usd=8.0, cached_usd=1.0)
    openai = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
    for row, cached in ((openai, 60), ({**openai, "prompt_tokens_details": None}, 0)):
        found = usage_of(model, row, "x" * 400, ["y" * 40])
        assert found.tokens_cached == cached
        assert found.cost_usd == pytest.approx(((100 - cached) * 4 + cached + 10 * 8) * 1e-6)
