"""Pipeline of one generation from prompts to verdicts, batch by batch.

It may begin while the generation before is evaluated, so that the sandbox is not idle while a flow run ends, commits
and the next one starts. Prefect's tasks wait for it.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from schemas.outcome import Verdict
from schemas.program import Candidate
from schemas.skeleton import Skeleton
from tasks.evaluate.evaluator import Evaluator
from tasks.sample.completion_request import CompletionRequest
from tasks.sample.sampling_task import to_candidates

Pairs = list[tuple[Candidate, Verdict | None]]

_BATCHES_AT_A_TIME = 32


class GenerationPipeline:
    """Parses each batch of completions as it arrives and evaluates its candidates.

    Args:
        purchase: The request for the generation's completions.
        evaluator: Evaluator of candidates, as many at a time as there are slots.
        specification: The fixed part of every program.
    """

    def __init__(self, purchase: CompletionRequest, evaluator: Evaluator, specification: Skeleton) -> None:
        self._completion_request = purchase
        self._evaluator = evaluator
        self._specification = specification
        self._sampled: list[Future[list[Candidate]]] = [Future() for _ in purchase.batches]
        self._threads = ThreadPoolExecutor(min(len(purchase.batches), _BATCHES_AT_A_TIME), "overnight-round")
        self._judged = [self._threads.submit(self._run, batch) for batch in range(len(purchase.batches))]

    @property
    def batches(self) -> int:
        return len(self._completion_request.batches)

    def candidates(self, batch: int) -> list[Candidate]:
        """Wait for a batch of candidates; batches are counted from 1.

        Raises:
            ProviderError: If its completions could not be had.
        """
        return self._sampled[batch - 1].result()

    def verdicts(self, batch: int) -> Pairs:
        """Wait for a batch of verdicts.

        Raises:
            SandboxUnavailable: If the engine is at fault.
        """
        return self._judged[batch - 1].result()

    def stop(self) -> None:
        """Stop evaluating and return when no candidate is running. Requests for completions go on."""
        self._evaluator.stop()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, batch: int) -> Pairs:
        sampled = self._sampled[batch]
        try:
            completions = self._completion_request.completions(batch)
            candidates = to_candidates(self._completion_request.batches[batch], completions, self._specification)
        except BaseException as error:
            sampled.set_exception(error)
            raise
        sampled.set_result(candidates)
        return self._evaluator.judge(candidates)
