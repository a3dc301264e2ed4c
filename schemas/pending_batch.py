"""A batch of prompts that a provider has, at half price and in its own time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """What is kept of a batch from before it is sent until its answers are safe.

    Attributes:
        key: Ours; the provider is told it, too, so that a batch can be found whose id never arrived.
        model: LiteLLM model string.
        batch_id: The provider's; empty until it is known.
        usd: What it costs at most.
        tokens: What it takes at most, in and out.
    """

    key: str
    model: str
    sent_at: datetime
    batch_id: str = ""
    usd: float = 0.0
    tokens: int = 0
