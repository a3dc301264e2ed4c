"""Count tokens and cost of a response: the provider's figures if they are plausible, else our own count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

DEFAULT_COMPLETION_TOKENS = 4096
"""Assumed length of a completion where the settings set no limit and no completion has been seen."""

_MAX_HIDDEN_TOKENS = 100_000
"""Tokens that a provider may count beyond the visible text, such as a system prompt or hidden reasoning."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token.

    Attributes:
        cached_usd: For a prompt token that the provider read from its cache; `None` for the price of any other.
    """

    input_usd: float
    output_usd: float
    cached_usd: float | None = None

    def cost_usd(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        """Return the cost in USD of these tokens, of which `tokens_in` includes the cached ones."""
        cached_usd = self.input_usd if self.cached_usd is None else self.cached_usd
        read = tokens_in - tokens_cached
        return read * self.input_usd + tokens_cached * cached_usd + tokens_out * self.output_usd


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one request.

    Attributes:
        cost_usd: Cost in USD; `None` if the price is unknown.
        tokens_cached: Prompt tokens that the provider read from its cache; `tokens_in` includes them.
    """

    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    tokens_cached: int = 0


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """Tokens and cost of one request as reported by the provider or LiteLLM; any may be missing, negative or absurd."""

    tokens_in: Any
    tokens_out: Any
    cost_usd: Any
    tokens_cached: Any = None


def check_usage(
    reported: ReportedUsage, prompt: str, texts: list[str], *, price: Price | None, counted: tuple[int, int]
) -> Usage:
    """Return the reported usage if it is plausible, else the usage by our own count.

    Args:
        reported: Usage as the provider reports it.
        prompt: The text that was sent.
        texts: The texts of the response.
        price: The model's price; `None` if unknown.
        counted: Our own count of the tokens of prompt and texts.
    """
    is_plausible = _is_plausible(reported.tokens_in, prompt, least=1) and _is_plausible(
        reported.tokens_out, "".join(texts), least=1 if any(texts) else 0
    )
    tokens_in, tokens_out = (reported.tokens_in, reported.tokens_out) if is_plausible else counted
    cached = _cached_tokens(reported.tokens_cached, tokens_in) if is_plausible else 0
    cost = reported.cost_usd
    if is_plausible and isinstance(cost, float) and math.isfinite(cost) and cost > 0:
        return Usage(tokens_in, tokens_out, cost, cached)
    return Usage(tokens_in, tokens_out, price.cost_usd(tokens_in, tokens_out, cached) if price else None, cached)


def _cached_tokens(reported: Any, tokens_in: int) -> int:
    """Return the prompt tokens that were read from a cache; 0 if the number is missing or cannot be true."""
    return reported if isinstance(reported, int) and 0 <= reported <= tokens_in else 0


def _is_plausible(tokens: Any, text: str, *, least: int) -> bool:
    """Return whether the text may have so many tokens: each visible token covers at least one byte of it."""
    return isinstance(tokens, int) and least <= tokens <= len(text.encode()) + _MAX_HIDDEN_TOKENS
