"""The provider of models named `llamacpp/…`: llama.cpp's own protocol, in which every sample has a seed."""

from __future__ import annotations

import httpx

from overnight.schemas.errors import PromptRefused, TerminalProviderError, TransientProviderError, UsageError
from overnight.schemas.program import Prompt
from overnight.schemas.settings import Model, Sampling
from overnight.tasks.sample.providers import Answer, Choice, Price, ReportedUsage, rough_tokens, to_valid_text


class LlamaCppProvider:
    """`Provider` of models on servers of the user's own."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=None)  # `send_request` limits the time

    def require(self, model: Model) -> None:
        if model.api_base is None:
            raise UsageError(f"{model.name} needs a server", remedy="For example: --api-base http://127.0.0.1:8080")

    def missing_keys(self, name: str) -> list[str]:
        return []

    def takes_n(self, name: str) -> bool:
        return False

    def price(self, name: str) -> Price:
        return Price(0.0, 0.0)

    def count_tokens(self, name: str, text: str) -> int:
        return rough_tokens(text)

    def timeout_s(self, model: Model, settings: Sampling) -> float:
        return settings.timeout_s

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:
        options = {"n_predict": settings.max_tokens, "temperature": settings.temperature, "top_p": settings.top_p}
        given = {name: value for name, value in options.items() if value is not None}
        request = {"prompt": prompt.whole_text, "seed": seed, **given}
        try:
            response = await self._client.post(f"{model.api_base}/completion", json=request)
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise TransientProviderError(f"{model.name}: {error} at {model.api_base}") from error
        if response.status_code != 200 or not isinstance(answer.get("content"), str):
            raise self._error(response.status_code)(f"{model.name}: {answer.get('error', answer)}")
        choice = Choice(to_valid_text(answer["content"]), "length" if answer.get("stop_type") == "limit" else "stop")
        return Answer((choice,), ReportedUsage(answer.get("tokens_evaluated"), answer.get("tokens_predicted"), None))

    def _error(self, status: int) -> type[TransientProviderError | TerminalProviderError]:
        if status == 400:
            return PromptRefused
        return TerminalProviderError if status in (401, 403, 404) else TransientProviderError

    async def close(self) -> None:
        await self._client.aclose()


create = LlamaCppProvider
