"""The provider of `builtin/mutate`, which answers in this process: no key, no cost, no network."""

from __future__ import annotations

from overnight.schemas.errors import TerminalProviderError, UsageError
from overnight.schemas.program import Prompt, without_measured
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.providers import Answer, Choice, Price, ReportedUsage, rough_tokens, to_valid_text

_MODEL = "builtin/mutate"


class BuiltinProvider:
    """`Provider` of the built-in model."""

    def require(self, model: Model) -> None:
        if model.name != _MODEL:
            raise UsageError(f"there is no built-in model {model.name!r}", remedy=f"There is {_MODEL}.")

    def missing_keys(self, name: str) -> list[str]:  # noqa: ARG002
        return []

    def takes_n(self, name: str) -> bool:  # noqa: ARG002
        return False  # each sample has a seed of its own

    def price(self, name: str) -> Price:  # noqa: ARG002
        return Price(0.0, 0.0)

    def count_tokens(self, name: str, text: str) -> int:  # noqa: ARG002
        return rough_tokens(text)

    def timeout_s(self, model: Model, settings: Sampling) -> float:  # noqa: ARG002
        return settings.timeout_s

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:  # noqa: ARG002
        if model.name != _MODEL:
            raise TerminalProviderError(
                f"there is no built-in model {model.name.partition('/')[2]}", remedy=f"There is {_MODEL}."
            )
        text = mutate(without_measured(prompt.text), seed=seed, facts=prompt.system)
        return Answer(
            (Choice(to_valid_text(text), "stop"),), ReportedUsage(len(prompt.text) // 4, len(text) // 4, None)
        )

    async def close(self) -> None:
        pass


create = BuiltinProvider
