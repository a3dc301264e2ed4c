"""One generation's way from prompts to verdicts, batch by batch; it may begin while the generation before is judged.

The Prefect tasks wait for it: so the sandbox is never idle while a flow run ends, commits, and the next one starts.
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


class Round:
    """Waits for each batch of a purchase, turns it into candidates and has them judged.

    Args:
        purchase: The completions, being bought.
        evaluator: Judges candidates, as many at a time as there are slots.
        specification: Says what the evolved function is.
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
        """Waits until a batch is sampled; batches are counted from 1.

        Raises:
            ProviderError: If it could not be.
        """
        return self._sampled[batch - 1].result()

    def verdicts(self, batch: int) -> Pairs:
        """Waits until a batch is judged.

        Raises:
            SandboxUnavailable: If the engine is at fault.
        """
        return self._judged[batch - 1].result()

    def stop(self) -> None:
        """Judges no further candidate, and returns when none is being judged. What is being bought is not touched."""
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
