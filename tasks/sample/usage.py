"""How many tokens an answer has and what it costs: what the provider says where it can be true, else our own count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_SLACK = 100_000
"""Tokens that a provider may add of its own: a system prompt, hidden reasoning."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one token."""

    input_usd: float
    output_usd: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """USD for so many."""
        return tokens_in * self.input_usd + tokens_out * self.output_usd


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one request.

    Attributes:
        cost_usd: `None` where the price is unknown.
    """

    tokens_in: int
    tokens_out: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a provider, and LiteLLM after it, say of one request; each may be missing, negative or absurd."""

    tokens_in: Any
    tokens_out: Any
    cost_usd: Any


def settle(claim: Claim, prompt: str, texts: list[str], *, price: Price | None, counted: tuple[int, int]) -> Usage:
    """What is entered into the books.

    Args:
        claim: As the provider says.
        prompt: What was sent.
        texts: What was answered.
        price: Of the model; `None` if unknown.
        counted: Our own count of prompt and answers.
    """
    can_be_true = _is_possible(claim.tokens_in, prompt, least=1) and _is_possible(
        claim.tokens_out, "".join(texts), least=1 if any(texts) else 0
    )
    tokens_in, tokens_out = (claim.tokens_in, claim.tokens_out) if can_be_true else counted
    if can_be_true and isinstance(claim.cost_usd, float) and math.isfinite(claim.cost_usd) and claim.cost_usd > 0:
        return Usage(tokens_in, tokens_out, claim.cost_usd)
    return Usage(tokens_in, tokens_out, price.of(tokens_in, tokens_out) if price else None)


def _is_possible(tokens: Any, text: str, *, least: int) -> bool:
    """A token is a byte of the text at least."""
    return isinstance(tokens, int) and least <= tokens <= len(text.encode()) + _SLACK
