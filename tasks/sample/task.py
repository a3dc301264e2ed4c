"""The sample task: buys a batch of prompts' completions and turns them into candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.program import Candidate, Completion, Prompt
from schemas.specification import Specification
from tasks.sample.extract import extract
from tasks.sample.gateway import Gateway, Sample
from tasks.sample.prompts import prompt_hash


class Paid(Protocol):
    """Where completions are kept from the moment they are paid for."""

    def known(self) -> Mapping[tuple[int, int, str], Completion]: ...

    def record(self, completions: Sequence[Completion]) -> None: ...


def buy(prompts: Sequence[Prompt], gateway: Gateway, paid: Paid) -> list[Completion]:
    """The completions of the prompts: those that are paid for already from `paid`, the others from the models."""
    known = paid.known()
    wanted = [Sample(prompt, number) for prompt in prompts for number in range(prompt.samples)]
    missing = [sample for sample in wanted if _key(sample) not in known]
    bought = gateway.sample(missing, paid.record) if missing else []
    found = [known[_key(sample)] for sample in wanted if _key(sample) in known]
    return sorted([*found, *bought], key=lambda completion: (completion.prompt, completion.sample))


def to_candidates(
    prompts: Sequence[Prompt], completions: Sequence[Completion], specification: Specification
) -> list[Candidate]:
    """What the completions hold, in their order."""
    by_index = {prompt.index: prompt for prompt in prompts}
    return [_candidate(by_index[completion.prompt], completion, specification) for completion in completions]


def _candidate(prompt: Prompt, completion: Completion, specification: Specification) -> Candidate:
    extracted = extract(completion.text, specification, version=len(prompt.parent_ids))
    index = prompt.index * prompt.samples + completion.sample
    return Candidate(index, prompt, completion, extracted.body, extracted.code_hash, extracted.verdict)


def _key(sample: Sample) -> tuple[int, int, str]:
    return sample.prompt.index, sample.number, prompt_hash(sample.prompt)


@task(name="sample", task_run_name="sample-{batch}", cache_policy=NO_CACHE)
def sample(
    batch: int,  # noqa: ARG001  (names the task run)
    prompts: Sequence[Prompt],
    specification: Specification,
    gateway: Gateway,
    paid: Paid,
) -> list[Candidate]:
    """Prefect's wrapper."""
    return to_candidates(prompts, buy(prompts, gateway, paid), specification)
