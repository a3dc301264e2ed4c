"""The sample task: waits for a batch of completions and parses them into candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.outcome import Outcome, Verdict
from schemas.program import Candidate, Completion, Prompt
from schemas.skeleton import Skeleton
from tasks.sample.codecs import codec_of


def to_candidates(
    prompts: Sequence[Prompt], completions: Sequence[Completion], specification: Skeleton
) -> list[Candidate]:
    """Parse completions into candidates, in their order."""
    by_index = {prompt.index: prompt for prompt in prompts}
    return [_candidate(by_index[completion.prompt], completion, specification) for completion in completions]


def _candidate(prompt: Prompt, completion: Completion, specification: Skeleton) -> Candidate:
    if completion.error:
        refused = Verdict(Outcome.UNPARSABLE, error=completion.error)
        return Candidate(prompt.index * prompt.samples + completion.sample, prompt, completion, "", "", refused)
    codec = codec_of(specification.kind)
    extracted = codec.parse(completion.text, specification, len(prompt.parent_ids), prompt.base)
    index = prompt.index * prompt.samples + completion.sample
    return Candidate(index, prompt, completion, extracted.body, extracted.code_hash, extracted.verdict)


class Sampling(Protocol):
    """A generation's batches of completions."""

    def candidates(self, batch: int) -> list[Candidate]:
        """Wait for the candidates of a batch."""
        ...


@task(name="sample", task_run_name="sample-{batch}", cache_policy=NO_CACHE)
def sample(batch: int, sampling: Sampling) -> list[Candidate]:
    """Wrap `candidates` as a Prefect task; batches are counted from 1."""
    return sampling.candidates(batch)
