"""Sample prompts: request their completions, each of which is paid for once, and parse them into candidates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, wait

from overnight.schemas.agent_settings import split_agent
from overnight.schemas.completion_source import CompletionSource, Sample
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_GAIN, PRUNER, TUNER, Candidate, Completion, Prompt
from overnight.schemas.settings import Settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.sample.completion_sources import CompletionStore, key_of
from overnight.tasks.sample.gateway import await_cancellation


class CompletionRequest:
    """A request for all completions of some prompts.

    Completions that are stored already are not requested again, whether they come from a failed attempt, a killed
    process or an earlier night.
    """

    def __init__(self, prompts: Sequence[Prompt], source: CompletionSource, store: CompletionStore) -> None:
        self._wanted = samples_of(prompts)
        self._store = store
        self._is_cut = False
        self._known = dict(store.known())
        missing = [sample for sample in self._wanted if key_of(sample) not in self._known]
        self._missing = len(missing)
        self._future = source.submit(missing, store.record)

    def completions(self) -> list[Completion]:
        """Wait for the completions; return them ordered by prompt and sample.

        Raises:
            ProviderError: As for `Gateway.submit`. Completions that arrived are stored all the same.
        """
        new = {(c.prompt, c.sample): c for c in self._new()}
        answers = [self._known.get(key_of(one)) or new.get((one.prompt.index, one.number)) for one in self._wanted]
        return [answer for answer in answers if answer is not None]

    def _new(self) -> list[Completion]:
        try:
            return self._future.result()
        except CancelledError:
            if not self._is_cut:
                raise
        await_cancellation()
        self._known |= self._store.known()
        return []

    def cut(self) -> None:
        """Cancel requests in flight, so that `completions` returns those that arrived before."""
        self._is_cut = True
        self.give_up()

    def is_incomplete(self) -> bool:
        """Return whether it ended with an error, or without some of the completions."""
        if not self._future.done():
            return False
        if self._future.cancelled() or self._future.exception() is not None:
            return True
        return len(self._future.result()) < self._missing

    def finish(self, timeout_s: float) -> None:
        """Wait until no request is in flight, so that all paid completions are stored."""
        wait([self._future], timeout=timeout_s)

    def give_up(self) -> None:
        """Cancel requests in flight; waiting callers get an error."""
        self._future.cancel()


def samples_of(prompts: Sequence[Prompt]) -> list[Sample]:
    return [Sample(prompt, number) for prompt in prompts for number in range(prompt.samples)]


NOT_TUNED = Verdict(Outcome.DUPLICATE, error="no better numbers were found")
"""Verdict on a sample for which the tuner has no program: it would be its base again."""

NOT_PRUNED = Verdict(Outcome.DUPLICATE, error="nothing could be left out without changing its scores")
"""Verdict on what stands for a program that was pruned, where it would be the same again."""

NOT_BETTERED = Verdict(Outcome.DUPLICATE, error="the agent found nothing better, and left the program as it was")
"""Verdict on an agent's sample for which it says that it tried, and changed nothing."""

_ARRIVED_S = 1.0
"""Seconds in which answers that have arrived are stored."""

_MAX_CHARS = 100_000
"""Limit on an answer, and on its program, in characters beyond those of the start program."""

_LENGTH_REASONS = frozenset(("length", "max_output_tokens", "max_tokens", "model_length"))
"""Reasons of providers for the end of an answer that reached the limit of tokens."""

_Key = tuple[int, int, str]
"""Number of a generation, index of a prompt and hash of the prompt."""


class Sampler:
    """Samples the prompts of one run. Methods may be called from any thread.

    A request goes on when the attempt that made it fails, and serves the next attempt, however that groups its
    prompts, unless it ended without some of its completions.
    """

    def __init__(
        self, problem: Problem, source: Callable[[int], CompletionSource], store: Callable[[int], CompletionStore]
    ) -> None:
        self._problem = problem
        self._source = source
        self._store = store
        self._requests: dict[_Key, CompletionRequest] = {}
        self._is_cut = False
        self._lock = threading.Lock()

    def sample(self, generation: int, prompts: Sequence[Prompt]) -> list[Candidate]:
        """Return the candidates of some prompts, in order; samples without an answer are left out.

        Raises:
            ProviderError: If a provider and its fallbacks failed.
        """
        answers: list[Completion] = []
        for request, mine in self._requests_of(generation, prompts).items():
            indices = {prompt.index for prompt in mine}
            answers += [answer for answer in request.completions() if answer.prompt in indices]
        place = {prompt.index: place for place, prompt in enumerate(prompts)}
        answers.sort(key=lambda answer: (place[answer.prompt], answer.sample))
        return to_candidates(prompts, answers, self._problem)

    def begin(self, generation: int, prompts: Sequence[Prompt]) -> None:
        """Begin to sample some prompts, without waiting for their answers."""
        self._requests_of(generation, prompts)

    def _requests_of(self, generation: int, prompts: Sequence[Prompt]) -> dict[CompletionRequest, list[Prompt]]:
        """Return the requests that serve some prompts; make one for all prompts that none serves."""
        with self._lock:
            if unserved := [prompt for prompt in prompts if self._is_unserved(_key(generation, prompt))]:
                request = CompletionRequest(unserved, self._source(generation), self._store(generation))
                if self._is_cut:
                    request.cut()
                self._requests |= {_key(generation, prompt): request for prompt in unserved}
            found: dict[CompletionRequest, list[Prompt]] = {}
            for prompt in prompts:
                found.setdefault(self._requests[_key(generation, prompt)], []).append(prompt)
            return found

    def _is_unserved(self, key: _Key) -> bool:
        return key not in self._requests or self._requests[key].is_incomplete()

    def _all(self) -> set[CompletionRequest]:
        with self._lock:
            return set(self._requests.values())

    def cut(self) -> None:
        """Cancel requests in flight; `sample` returns what arrived before.

        What has arrived already is taken: a deadline may have passed while the machine was asleep.
        """
        self._is_cut = True
        self.finish(_ARRIVED_S)
        for request in self._all():
            request.cut()

    def give_up(self) -> None:
        """Cancel requests in flight; waiting callers get an error."""
        for request in self._all():
            request.give_up()

    def finish(self, timeout_s: float) -> None:
        """Wait until no request is in flight, so that all paid completions are stored."""
        until = time.monotonic() + timeout_s
        for request in self._all():
            request.finish(timeout_s=max(0.0, until - time.monotonic()))

    def forget(self, generation: int) -> None:
        """Drop the requests of a generation that is over."""
        with self._lock:
            self._requests = {key: request for key, request in self._requests.items() if key[0] != generation}


def _key(generation: int, prompt: Prompt) -> _Key:
    return generation, prompt.index, prompt.hash


def to_candidates(prompts: Sequence[Prompt], completions: Sequence[Completion], problem: Problem) -> list[Candidate]:
    """Parse completions into candidates, in their order.

    A prompt may have fewer samples than the settings say, as those of the tuner do; its candidates are numbered as if
    it had as many.
    """
    by_index = {prompt.index: prompt for prompt in prompts}
    answers = [completion for completion in completions if completion.is_sample]
    return [_candidate(by_index[completion.prompt], completion, problem) for completion in answers]


def _candidate(prompt: Prompt, completion: Completion, problem: Problem) -> Candidate:
    index = prompt.index * problem.settings.candidates_per_prompt + completion.sample
    if completion.finish_reason == NO_GAIN and (unchanged := _unchanged(completion.model)):
        return Candidate(index, prompt, completion, "", "", unchanged)
    if completion.error:
        refused = Verdict(Outcome.UNPARSABLE, error=completion.error)
        return Candidate(index, prompt, completion, "", "", refused)
    skeleton = problem.specification
    if too_long := _too_long(completion.text, skeleton):
        return Candidate(index, prompt, completion, "", "", too_long)
    parsed = codec_of(skeleton.kind).parse(completion.text, skeleton, len(prompt.parent_ids), prompt.base)
    if refused := parsed.verdict or _too_long(parsed.body, skeleton):
        verdict = _cut_off(completion, problem.settings) if _is_cut_off(completion, refused) else refused
        return Candidate(index, prompt, completion, "", "", verdict)
    return Candidate(index, prompt, completion, parsed.body, problem.code_hash(parsed.body))


def _unchanged(model: str) -> Verdict | None:
    """Return the verdict where a proposer says that it found nothing better; `None` of one that cannot say so."""
    return {TUNER: NOT_TUNED, PRUNER: NOT_PRUNED}.get(model, NOT_BETTERED if split_agent(model)[0] else None)


def _too_long(text: str, skeleton: Skeleton) -> Verdict | None:
    """Return why an answer or a body is not read: what reads and tunes programs takes seconds beyond such a length."""
    most = _MAX_CHARS + len(skeleton.start_body)
    # It becomes part of stored verdicts, which a replay compares: do not reword it.
    error = f"{len(text)} characters, at most {most} are read"
    return Verdict(Outcome.UNPARSABLE, error=error) if len(text) > most else None


def _is_cut_off(completion: Completion, verdict: Verdict) -> bool:
    """Return whether an answer holds no program because it ends too early."""
    is_long = completion.finish_reason.lower() in _LENGTH_REASONS
    return is_long and verdict.outcome is Outcome.UNPARSABLE


def _cut_off(completion: Completion, settings: Settings) -> Verdict:
    # It becomes part of stored verdicts, which a replay compares: do not reword it.
    limit = settings.sampling.max_tokens
    where = "the provider's limit" if limit is None else f"`sampling.max_tokens` ({limit})"
    remedy = "set a higher `sampling.max_tokens`" if limit is None else f"raise it, such as to {2 * limit}"
    if limit is not None and 0 < completion.tokens_out < limit // 2:
        where, remedy = (
            f"the provider's limit, before {where}",
            "does its context have room for the prompt and an answer?",
        )
    return Verdict(Outcome.UNPARSABLE, error=f"the answer was cut off at {where} and holds no program: {remedy}")
