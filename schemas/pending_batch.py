"""The record of a batch job at a provider whose results have not been stored yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """Record of a batch job, kept from before it is sent until its completions are stored.

    Attributes:
        key: Our key of the job; it is sent to the provider, too, so that a job whose id never arrived can be found.
        model: LiteLLM model string.
        batch_id: Id that the provider gave the job; empty until it is known.
        usd: Upper limit of its cost, USD.
        tokens: Upper limit of its tokens, prompt and completion together.
    """

    key: str
    model: str
    sent_at: datetime
    batch_id: str = ""
    usd: float = 0.0
    tokens: int = 0
