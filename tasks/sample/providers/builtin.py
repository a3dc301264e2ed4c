"""The provider of `builtin/mutate`, which answers in this process: no key, no cost, no network."""

from __future__ import annotations

from schemas.errors import TerminalProviderError, UsageError
from schemas.program import Prompt
from schemas.sampling_settings import Model, Sampling
from tasks.sample.builtin import mutate
from tasks.sample.providers.base import Answer, Choice, rough_tokens, to_valid_text
from tasks.sample.usage import Price, ReportedUsage

_MODEL = "builtin/mutate"


class BuiltinProvider:
    """`Provider` of the built-in model."""

    def require(self, model: Model) -> None:
        """See `Provider.require`."""
        if model.name != _MODEL:
            raise UsageError(f"there is no built-in model {model.name!r}", remedy=f"There is {_MODEL}.")

    def missing_keys(self, name: str) -> list[str]:  # noqa: ARG002
        """Return nothing: it needs no key."""
        return []

    def takes_n(self, name: str) -> bool:  # noqa: ARG002
        """Return false, since each sample has a seed of its own."""
        return False

    def price(self, name: str) -> Price:  # noqa: ARG002
        """Return that it costs nothing."""
        return Price(0.0, 0.0)

    def count_tokens(self, name: str, text: str) -> int:  # noqa: ARG002
        """Return a rough count."""
        return rough_tokens(text)

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:  # noqa: ARG002
        """Answer with one mutated program, which the seed determines."""
        if model.name != _MODEL:
            raise TerminalProviderError(
                f"there is no built-in model {model.name.partition('/')[2]}", remedy=f"There is {_MODEL}."
            )
        text = mutate(prompt.text, seed=seed)
        return Answer(
            (Choice(to_valid_text(text), "stop"),), ReportedUsage(len(prompt.text) // 4, len(text) // 4, None)
        )

    async def close(self) -> None:
        """Do nothing: it has no connections."""


create = BuiltinProvider
