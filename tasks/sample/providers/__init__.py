"""Providers of models, one a module; here are their protocol, their answers, and what these cost.

`tasks/sample/provider.py` chooses a provider by the first part of a model's name.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from overnight.schemas.errors import PromptRefused, without_keys
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling

DEFAULT_COMPLETION_TOKENS = 4096
"""Assumed length of a completion where the settings set no limit and no completion has been seen."""

_TOO_LONG = re.compile(
    r"context[ _-]?(window|length|size|limit)|maximum context|(prompt|input) is too long", re.IGNORECASE
)
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

    `counted` is our own count of the tokens of prompt and texts.
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


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a response.

    Attributes:
        refusal: The provider's reason for giving no text; empty if it gave text.
    """

    text: str
    finish_reason: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer to one request: its choices, and the tokens and cost that it reports."""

    choices: tuple[Choice, ...]
    usage: ReportedUsage


class Provider(Protocol):
    """Provider of models. Its models' names begin with a part of its own, such as `builtin/`."""

    def require(self, model: Model) -> None:
        """Check that a model's name is one that this provider may know; ask nobody.

        Raises:
            UsageError: If it is not.
        """
        ...

    def missing_keys(self, name: str) -> list[str]:
        """Return the environment variables that a model needs and that are unset or empty."""
        ...

    def takes_n(self, name: str) -> bool:
        """Return whether one request to a model can ask for several samples."""
        ...

    def price(self, name: str) -> Price | None:
        """Return the price of a model; `None` if it is unknown."""
        ...

    def count_tokens(self, name: str, text: str) -> int:
        """Return the number of a text's tokens, as a model counts them."""
        ...

    def timeout_s(self, model: Model, settings: Sampling) -> float | None:
        """Return the seconds that a request may take; `None` for no limit."""
        ...

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:
        """Send one request, without retries; arguments as for `provider.send_request`, which limits the time.

        Raises:
            TransientProviderError: If a retry may help.
            TerminalProviderError: If a retry cannot help; PromptRefused if the request itself is at fault.
        """
        ...

    async def close(self) -> None:
        """Close connections, when the process ends."""
        ...


def stored_choice(text: str | None, finish_reason: str | None, refusal: str | None) -> Choice:
    """Return a choice of a response as it can be stored; one without text that was filtered counts as refused."""
    if not text and not refusal and finish_reason == "content_filter":
        refusal = "the provider's content filter"
    return Choice(to_valid_text(text or ""), finish_reason or "", without_keys(to_valid_text(refusal or ""))[:300])


def is_too_long(message: str) -> bool:
    """Return whether an error says that a prompt is too long for its model, of which every try says the same."""
    return bool(_TOO_LONG.search(message))


def about_the_text(message: str) -> PromptRefused:
    """Return the refusal of one prompt for what it says, or for its length."""
    refused = PromptRefused(message)
    refused.is_about_the_text = True
    return refused


def to_valid_text(text: str) -> str:
    """Replace lone surrogates, such as half an emoji at the token limit: such text cannot be stored."""
    return text.encode("utf-8", "replace").decode()


def rough_tokens(text: str) -> int:
    """Return a rough count of tokens, for providers that report none."""
    return len(text.encode()) // 3 + 1
