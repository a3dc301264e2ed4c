"""Read the rows of a batch's result file, which another program wrote."""

from __future__ import annotations

from typing import Any

from schemas.errors import without_keys
from schemas.sampling_settings import Model
from tasks.sample import batch_api
from tasks.sample.providers.base import Choice, rough_tokens, to_valid_text
from tasks.sample.usage import ReportedUsage, Usage, check_usage


def failure_reason(row: dict[str, Any], body: dict[str, Any]) -> str:
    """Return in words why a row has no answer; at most 300 characters."""
    error = body.get("error") or row.get("error") or {}
    text = str(error.get("message") or error.get("code") or "an answer without a choice")
    return without_keys(to_valid_text(text))[:300]


def choice_of(choice: dict[str, Any]) -> Choice:
    """Return a choice of a row's response; a filtered one counts as refused."""
    message = choice.get("message") or {"content": choice.get("text")}
    text, refusal = str(message.get("content") or ""), str(message.get("refusal") or "")
    reason = str(choice.get("finish_reason") or "")
    if not text and not refusal and reason == "content_filter":
        refusal = "the provider's content filter"
    return Choice(to_valid_text(text), reason, without_keys(to_valid_text(refusal))[:300])


def usage_of(model: Model, row_usage: dict[str, Any], prompt: str, texts: list[str]) -> Usage:
    """Return the tokens and the cost of a row, at the price of batches."""
    reported = _reported_usage(row_usage)
    counted = (rough_tokens(prompt), rough_tokens("".join(texts)))
    return check_usage(reported, prompt, texts, price=batch_api.batch_price(model), counted=counted)


def _reported_usage(row_usage: dict[str, Any]) -> ReportedUsage:
    """Return the tokens that a row reports, in Google's or OpenAI's format."""
    total, prompt = row_usage.get("totalTokens"), row_usage.get("promptTokens")
    if isinstance(total, int) and isinstance(prompt, int):
        # Google's count of completion tokens excludes reasoning, which costs the same.
        return ReportedUsage(prompt, total - prompt, None, row_usage.get("cachedContentTokens"))
    details = row_usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return ReportedUsage(row_usage.get("prompt_tokens"), row_usage.get("completion_tokens"), None, cached)
