"""The fault matrix: what a provider may do to a request, what the user sees, and that no sample is lost or paid twice.

Whole nights with faults of each class are in `tests/flows/night/test_faults.py`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ProviderError, TerminalProviderError
from schemas.program import Candidate, Completion, Prompt
from tasks.problems.loading.load import load_problem
from tasks.sample import endpoint
from tasks.sample.gateway import Gateway
from tasks.sample.sampler import Sampler
from tests.provider import Answer, Provider, Request, default_response

README = (Path(__file__).parents[2] / "flows/README.md").read_text()
PROMPTS, SAMPLES = 3, 2
TEXT = "def guess_v0(offset):\n    return offset + 1.0\n\ndef guess_v1(offset):\n"


def program(request: Request, number: int) -> dict[str, Any]:
    """Return a response whose texts are unique."""
    answer = default_response(request, number)
    for k, choice in enumerate(answer["choices"]):
        choice["message"]["content"] = f"def guess_v2(offset):\n    return offset + {number}.{k}"
    return answer


def refused(request: Request, number: int) -> dict[str, Any]:
    answer = program(request, number)
    for choice in answer["choices"]:
        choice["message"] = {"role": "assistant", "content": None, "refusal": f"I cannot help with {number}."}
    return answer


def filtered(request: Request, number: int) -> dict[str, Any]:
    answer = program(request, number)
    for choice in answer["choices"]:
        choice |= {"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}
    return answer


def cut_short(request: Request, number: int) -> dict[str, Any]:
    answer = program(request, number)
    for choice in answer["choices"]:
        choice["finish_reason"] = "length"
        choice["message"]["content"] = choice["message"]["content"].replace("return", "if offset:\n        return (")
    return answer


def with_usage(**usage: Any) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer({**program(request, number), "usage": usage or None})


def error(status: int, message: str = "no", **headers: str) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer({"error": {"message": message}}, status=status, headers=headers)


def always(**answer: Any) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer(**answer)


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    Attributes:
        answer: Response of the provider instead of the default one, from its second request on.
        times: How often; twice is as often as a sample is asked for, so that a night pauses.
        further: Requests beyond one a prompt.
        settings: Of sampling.
        wait_s: Seconds at least until the next request.
    """

    answer: Callable[[Request, int], Answer]
    times: int = 2
    further: int = 2
    wait_s: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)


QUICK = {"timeout_s": 1.0}
FAULTS = {
    "401: a wrong key": Fault(error(401, "bad key"), times=1, further=1),
    "404: no such model": Fault(error(404, "no such model"), times=1, further=1),
    "429": Fault(error(429, "slow down")),
    "429 with `Retry-After`": Fault(error(429, "slow down", **{"Retry-After": "1"}), wait_s=1.0),
    "500": Fault(error(500)),
    "503": Fault(error(503)),
    "connection refused": Fault(lambda r, n: Answer(program(r, n), refuse_s=0.3), times=1, further=0),
    "connection reset": Fault(always(reset=True)),
    "connection closed half-way": Fault(lambda r, n: Answer(program(r, n), missing=10)),
    "hanging": Fault(always(hang=True), settings=QUICK),
    "dripping": Fault(always(body=b" " * 1000, drip_s=0.1), settings=QUICK),
    "truncated JSON": Fault(always(body=b'{"id": "x", "object": "chat.completion", "choices": [{"ind')),
    "no JSON": Fault(always(body=b"<html>Bad gateway</html>")),
    "an empty body": Fault(always(body=b"")),
    "empty `choices`": Fault(always(body={"id": "x", "object": "chat.completion", "created": 1, "choices": []})),
    "`finish_reason` `length`": Fault(lambda r, n: Answer(cut_short(r, n)), further=0),
    "refusal": Fault(lambda r, n: Answer(refused(r, n)), further=0),
    "content filter": Fault(lambda r, n: Answer(filtered(r, n)), further=0),
    "prompt too long": Fault(error(400, "This model's maximum context length is 10 tokens."), further=0),
    "usage is missing": Fault(with_usage(), further=0),
    "usage is negative": Fault(with_usage(prompt_tokens=-5, completion_tokens=-1, total_tokens=-6), further=0),
    "usage is absurd": Fault(with_usage(prompt_tokens=10**12, completion_tokens=1, total_tokens=10**12), further=0),
}


@dataclass
class Store:
    """What of one generation is paid for, in memory."""

    completions: list[Completion] = field(default_factory=list)

    def known(self) -> dict[tuple[int, int, str], Completion]:
        return {(one.prompt, one.sample, one.prompt_hash): one for one in self.completions}

    def record(self, completions: Sequence[Completion]) -> None:
        self.completions += completions


def sampled(new_sampler: Callable[[], Sampler], prompts: Sequence[Prompt]) -> tuple[list[Candidate], list[str]]:
    """Sample the prompts as nights do, again after each failure; return the candidates and the errors."""
    sampler, errors = new_sampler(), list[str]()
    while True:
        try:
            return sampler.sample(1, prompts), errors
        except ProviderError as error:
            errors.append(str(error))
            assert len(errors) < 20
            if isinstance(error, TerminalProviderError):
                sampler = new_sampler()  # the night ends, and the next one opens the run anew
            time.sleep(0.05)


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_loses_a_sample_or_pays_for_one_twice(
    name: str, provider: Provider, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    fault = FAULTS[name]

    def script(number: int, request: Request) -> Answer:
        if 1 <= number <= fault.times:
            return fault.answer(request, number)
        return Answer(program(request, number))

    provider.script = script
    model = {"name": "openai/test", "api_base": provider.api_base, "input_usd": 1.0, "output_usd": 2.0}
    sampling = {"models": [model], "attempts": 2, "concurrency": 1, **fault.settings}
    problem = load_problem(toy, {"sampling": sampling, "search": {"prompts": PROMPTS, "samples": SAMPLES}})
    store = Store()

    def new_sampler() -> Sampler:
        gateway = Gateway(problem.settings.sampling)
        return Sampler(problem, lambda _: gateway, lambda _: store)

    prompts = [
        Prompt(index, "0", ("p",), "openai/test", "chat", TEXT, tuple(range(SAMPLES))) for index in range(PROMPTS)
    ]
    candidates, errors = sampled(new_sampler, prompts)
    assert len(candidates) == PROMPTS * SAMPLES, "no sample is lost"
    completions = [one.completion for one in candidates]
    assert texts(one.text for one in completions) == texts(spoken(provider.responses)), "none is paid for twice"
    assert len(provider.requests) == PROMPTS + fault.further
    assert provider.request_times[2] - provider.request_times[1] >= fault.wait_s
    assert_books_are_right(completions, provider, usage_is_wrong=name.startswith("usage"))
    seen = errors + [f"{one.verdict.error} {one.completion.finish_reason}" for one in candidates if one.verdict]
    for words in re.findall(r"`(.+?)`", matrix()[name]):
        assert any(words in one for one in seen), f"{words!r} is not among {seen}"


def spoken(answers: list[dict[str, Any]]) -> Iterator[str | None]:
    return (choice["message"]["content"] for answer in answers for choice in answer["choices"])


def texts(given: Iterable[str | None]) -> Counter[str]:
    return Counter(text for text in given if text)


def assert_books_are_right(completions: Sequence[Completion], provider: Provider, *, usage_is_wrong: bool) -> None:
    tokens_in, tokens_out = (sum(getattr(one, name) for one in completions) for name in ("tokens_in", "tokens_out"))
    costs = sum(one.cost_usd or 0.0 for one in completions)
    assert costs == pytest.approx(tokens_in * 1e-6 + tokens_out * 2e-6)
    if usage_is_wrong:
        letters = sum(len(request["messages"][0]["content"]) for request in provider.requests)
        assert letters / 10 < tokens_in < letters
    else:
        assert (tokens_in, tokens_out) == (100 * len(provider.responses), 40 * len(provider.responses))


def matrix() -> dict[str, str]:
    """The README's table: what is seen, by fault."""
    (table,) = re.findall(r"^\| fault \|.*\n\|---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
    return {fault: seen for fault, _, seen in cells}


def test_the_readme_has_one_row_a_fault():
    assert list(matrix()) == list(FAULTS)
