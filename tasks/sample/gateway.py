"""The door to every model: LiteLLM behind one event loop. The only module that imports `litellm`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from schemas.errors import EnvironmentFault, ProviderError, TerminalProviderError, TransientProviderError
from schemas.program import Completion, Prompt
from schemas.settings import Sampling
from tasks.sample import builtin
from tasks.sample.prompts import prompt_hash

BUILTIN = "builtin/"
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

Record = Callable[[Sequence[Completion]], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to buy: which prompt, which of its samples."""

    prompt: Prompt
    number: int


class Gateway:
    """Asks models, many at a time, and hands each answer to `record` before anything else is done with it.

    One event loop serves every gateway of the process, in a thread of its own: LiteLLM leaks a client a loop.
    Its own retries, the provider clients' retries and the Router's limits are off: attempts are counted here alone.

    Args:
        settings: Models, limits and time-outs.
        may_ask: Asked before each request; where it says no, the request is not made and its samples are left out.
    """

    def __init__(self, settings: Sampling, may_ask: Callable[[], bool] = lambda: True) -> None:
        self._settings = settings
        self._may_ask = may_ask
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._bases = {model.name: model.api_base for model in settings.models}
        self._one_at_a_time = {model.name for model in settings.models if model.name.startswith(BUILTIN)}

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Begins to buy the samples, concurrently.

        Args:
            wanted: Samples; those of one prompt share a request where the provider can.
            record: Called with each answer as it arrives, from the gateway's thread; when it returns, it is safe.

        Returns:
            A future of the completions, ordered by prompt and sample. It raises TerminalProviderError
            where asking again cannot help, and TransientProviderError where a provider failed as often as `attempts`
            allows, both after the other samples have been answered and recorded.
        """
        return asyncio.run_coroutine_threadsafe(self._sample_all(wanted, record), _event_loop())

    def sample(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        """`submit`, and wait for all of them."""
        return self.submit(wanted, record).result()

    async def _sample_all(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        requests = [asyncio.ensure_future(self._request(group, record)) for group in self._groups(wanted)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures:
            raise min(failures, key=lambda error: not isinstance(error, TerminalProviderError))
        completions = [completion for answer in answers if isinstance(answer, list) for completion in answer]
        return sorted(completions, key=lambda completion: (completion.prompt, completion.sample))

    def _groups(self, wanted: Sequence[Sample]) -> list[list[Sample]]:
        groups: dict[tuple[int, int], list[Sample]] = {}
        for sample in wanted:
            alone = not self._takes_n(sample.prompt.model)
            groups.setdefault((sample.prompt.index, sample.number if alone else -1), []).append(sample)
        return list(groups.values())

    def _takes_n(self, model: str) -> bool:
        if model in self._one_at_a_time:
            return False
        if "n" not in (_litellm().get_supported_openai_params(model=model) or ()):
            self._one_at_a_time.add(model)
            return False
        return True

    async def _request(self, group: Sequence[Sample], record: Record) -> list[Completion]:
        async with self._slots:
            if not self._may_ask():
                return []
            completions = await self._with_retries(group)
        record(completions)
        rest = group[len(completions) :]
        if rest:
            # The provider took `n` and answered once: from now on it is asked for one at a time.
            self._one_at_a_time.add(group[0].prompt.model)
            for sample in rest:
                completions += await self._request([sample], record)
        return completions

    async def _with_retries(self, group: Sequence[Sample]) -> list[Completion]:
        wait_s = _FIRST_WAIT_S
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return await self._ask(group)
            except TransientProviderError as error:
                if attempt == self._settings.attempts:
                    raise TransientProviderError(
                        f"{group[0].prompt.model}: {attempt} attempts failed, the last with: {error.message}",
                        remedy="Nothing is lost; `overnight resume last` goes on when the provider answers again.",
                    ) from error
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        raise AssertionError("attempts is at least 1")

    async def _ask(self, group: Sequence[Sample]) -> list[Completion]:
        litellm = _litellm()
        asked_at, begin = datetime.now(UTC), time.monotonic()
        try:
            response = await self._call(litellm, group)
        except (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError) as error:
            return [_failed(sample, error, asked_at, time.monotonic() - begin) for sample in group]
        except litellm.exceptions.openai.OpenAIError as error:
            raise _translated(error, group[0].prompt.model) from error
        if not response.choices:
            raise TransientProviderError(f"{group[0].prompt.model} answered without a choice")
        latency_s = time.monotonic() - begin
        return [
            _completion(sample, response, number, asked_at, latency_s)
            for number, sample in enumerate(group[: len(response.choices)])
        ]

    def _key(self, model: str) -> str | None:
        """A server of one's own wants no key, but the client of OpenAI's protocol insists on one."""
        return "none" if self._bases.get(model) and missing_key(model) else None

    async def _call(self, litellm: Any, group: Sequence[Sample]) -> Any:
        prompt, settings = group[0].prompt, self._settings
        options: dict[str, Any] = {
            "model": prompt.model,
            "api_base": self._bases.get(prompt.model),
            "api_key": self._key(prompt.model),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "timeout": settings.timeout_s,
            "max_retries": 0,
            "drop_params": True,
        }
        if prompt.model.startswith(BUILTIN):
            options["seed"] = prompt.seeds[group[0].number]
        elif len(group) > 1:
            options["n"] = len(group)
        options = {key: value for key, value in options.items() if value is not None}
        if prompt.style == "completion" and not prompt.model.startswith(BUILTIN):
            return await litellm.atext_completion(prompt=prompt.text, **options)
        return await litellm.acompletion(messages=[{"role": "user", "content": prompt.text}], **options)


def _completion(sample: Sample, response: Any, number: int, asked_at: datetime, latency_s: float) -> Completion:
    choice = response.choices[number]
    message = getattr(choice, "message", None)
    text = message.content if message is not None else getattr(choice, "text", None)
    usage = getattr(response, "usage", None) if number == 0 else None
    return Completion(
        prompt=sample.prompt.index,
        sample=sample.number,
        prompt_hash=prompt_hash(sample.prompt),
        text=_clean(text or ""),
        model=sample.prompt.model,
        tokens_in=getattr(usage, "prompt_tokens", 0) or 0,
        tokens_out=getattr(usage, "completion_tokens", 0) or 0,
        cost_usd=_cost(response, sample.prompt.model) if number == 0 else 0.0,
        latency_s=latency_s,
        finish_reason=str(getattr(choice, "finish_reason", "") or ""),
        asked_at=asked_at,
    )


def _clean(text: str) -> str:
    """Half an emoji, cut off by the limit of tokens, is no text that could be stored."""
    return text.encode("utf-8", "replace").decode()


def _cost(response: Any, model: str) -> float | None:
    """USD of the whole request; `None` where LiteLLM does not know the price."""
    return 0.0 if model.startswith(BUILTIN) else response._hidden_params.get("response_cost")


def _failed(sample: Sample, error: Exception, asked_at: datetime, latency_s: float) -> Completion:
    """The provider refused this one prompt, for good: an answer without text."""
    return Completion(
        prompt=sample.prompt.index,
        sample=sample.number,
        prompt_hash=prompt_hash(sample.prompt),
        text="",
        model=sample.prompt.model,
        tokens_in=0,
        tokens_out=0,
        cost_usd=0.0,
        latency_s=latency_s,
        finish_reason="refused",
        asked_at=asked_at,
        error=_first_line(error),
    )


def _translated(error: Exception, model: str) -> ProviderError:
    status = getattr(error, "status_code", None)
    said = f"{model}: {_first_line(error)}"
    if status is None or status in _TRANSIENT_STATUS:
        return TransientProviderError(said)
    remedies = {
        401: f"Check the key of the provider of {model}; `overnight doctor` names the variable.",
        403: f"Check what the key of the provider of {model} may use.",
        404: f"Check the name {model} and --api-base; LiteLLM's model strings are provider/model.",
    }
    return TerminalProviderError(said, remedy=remedies.get(status, "The provider refuses the request as it is."))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def require_keys(settings: Sampling) -> None:
    """Looks whether each model's provider has its key; a server of one's own needs none.

    Raises:
        EnvironmentFault: If one is missing.
    """
    for model in settings.models:
        if model.api_base is None and (missing := missing_key(model.name)):
            raise EnvironmentFault(
                f"{model.name} needs {' and '.join(missing)} in the environment", remedy=f"export {missing[0]}=…"
            )


def missing_key(model: str) -> list[str]:
    """Environment variables that the provider of `model` needs and that are not set."""
    if model.startswith(BUILTIN):
        return []
    return list(_litellm().validate_environment(model=model).get("missing_keys", []))


_loading = threading.RLock()


def _event_loop() -> asyncio.AbstractEventLoop:
    # `cache` alone lets two threads make one each.
    with _loading:
        return _new_event_loop()


@cache
def _new_event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="overnight-gateway", daemon=True).start()
    atexit.register(_finish, loop)
    return loop


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Closes LiteLLM's connections and background tasks, which would complain at the interpreter's end."""

    async def cancel_all() -> None:
        await _litellm().close_litellm_async_clients()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=2)


def _litellm() -> Any:
    """LiteLLM, set up once: quiet, nothing fetched at import, the built-in model registered."""
    with _loading:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        if not any(entry["provider"] == "builtin" for entry in litellm.custom_provider_map):
            _set_up(litellm)
        return litellm


def _set_up(litellm: Any) -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)

    class BuiltinModel(litellm.CustomLLM):
        """`builtin/mutate` as a LiteLLM provider, on the path that every other model takes."""

        async def acompletion(self, *_: Any, **call: Any) -> Any:
            return _builtin_answer(litellm, call)

    litellm.custom_provider_map.append({"provider": "builtin", "custom_handler": BuiltinModel()})
    litellm.utils.custom_llm_setup()


def _builtin_answer(litellm: Any, call: dict[str, Any]) -> Any:
    if call["model"] != "mutate":
        raise litellm.llms.custom_llm.CustomLLMError(404, f"there is no built-in model {call['model']}")
    prompt = call["messages"][-1]["content"]
    text = builtin.mutate(prompt, seed=call["optional_params"].get("seed", 0))
    response = call["model_response"]
    response.choices[0].message.content = text
    response.choices[0].finish_reason = "stop"
    response.usage = litellm.Usage(prompt_tokens=len(prompt) // 4, completion_tokens=len(text) // 4)
    return response
