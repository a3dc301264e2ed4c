"""What passes between the tasks of a generation: prompts, completions, candidates, programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.feedback import Feedback
from schemas.outcome import Verdict
from schemas.settings import Reducer


@dataclass(frozen=True, slots=True)
class Program:
    """A scored program.

    Attributes:
        id: Unique in the history.
        body: Of the evolved function, dedented, without docstring; of several the text of all.
        scores: One for each input; the signature.
        score: The scores reduced to one; higher is better.
    """

    id: str
    body: str
    scores: tuple[float, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, of which `samples` completions are asked for.

    Attributes:
        index: Its place in the generation, from 0.
        niche: Where a scored child is registered.
        model: LiteLLM model string.
        text: The user's message for a chat model, the whole text for a completion model.
        seeds: One a sample; handed to models that take a seed.
        base: The body of the best parent; functions that a completion leaves out stay as they are there.
    """

    index: int
    niche: str
    parent_ids: tuple[str, ...]
    model: str
    style: str
    text: str
    seeds: tuple[int, ...]
    base: str = ""

    @property
    def samples(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered to one sample of a prompt; paid for.

    Attributes:
        prompt: The prompt's place in the generation.
        sample: The sample's place in the prompt.
        prompt_hash: Of model and text, so that a changed prompt never takes another's answer.
        tokens_in: Prompt tokens; with several samples in one request, the first carries them all.
        cost_usd: `None` where the price is unknown.
        latency_s: Seconds from request to answer.
        error: Why there is no text, where the provider failed for good.
    """

    prompt: int
    sample: int
    prompt_hash: str
    text: str
    model: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    latency_s: float
    finish_reason: str
    asked_at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion turned into a body, or the reason why it was not.

    Attributes:
        index: Its place in the generation; prompts in order, samples within.
        body: Empty if there is none.
        code_hash: Agrees for bodies that differ only in layout; empty if there is no body.
        verdict: Already given where the text alone decides; else `None`.
    """

    index: int
    prompt: Prompt
    completion: Completion
    body: str
    code_hash: str
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its verdict, its id and, if it is scored, its score.

    Attributes:
        confirmed_score: The score of its confirmation, whether that agreed or not; `None` if there was none.
    """

    id: str
    candidate: Candidate
    verdict: Verdict
    score: float | None
    confirmed_score: float | None = None

    def feedback(self) -> Feedback:
        """What can be learnt from it."""
        parents, verdict = self.candidate.prompt.parent_ids, self.verdict
        return Feedback(
            parent_id=parents[-1] if parents else "",
            body=self.candidate.body,
            outcome=verdict.outcome,
            error=verdict.error,
            output=verdict.output,
            scores=verdict.scores,
            score=self.score,
        )

    def program(self) -> Program:
        """The program it became.

        Raises:
            ValueError: If it has no score.
        """
        if self.score is None:
            raise ValueError(f"candidate {self.id} has no score")
        return Program(self.id, self.candidate.body, self.verdict.scores, self.score)


def reduced(scores: Sequence[float], reducer: Reducer) -> float | None:
    """`reduce_scores`; `None` without scores, or where what comes out is no finite number."""
    try:
        score = reduce_scores(scores, reducer) if scores else math.nan
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def reduce_scores(scores: Sequence[float], reducer: Reducer) -> float:
    """One score from those of all inputs. The paper says `mean`, its public code takes the `last`."""
    match reducer:
        case "mean":
            return math.fsum(scores) / len(scores)
        case "last":
            return scores[-1]
        case "min":
            return min(scores)
        case "sum":
            return math.fsum(scores)
