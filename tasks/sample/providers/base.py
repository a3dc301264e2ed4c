"""Define the protocol of a provider, and the data of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.program import Prompt
from schemas.sampling_settings import Model, Sampling
from tasks.sample.usage import Price, ReportedUsage


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


def to_valid_text(text: str) -> str:
    """Replace lone surrogates, such as half an emoji at the token limit: such text cannot be stored."""
    return text.encode("utf-8", "replace").decode()


def rough_tokens(text: str) -> int:
    """Return a rough count of tokens, for providers that report none."""
    return len(text.encode()) // 3 + 1
