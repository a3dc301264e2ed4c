"""One run's best score over its samples, for the comparison of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from overnight.schemas.report_rows import SplitScores


@dataclass(frozen=True, slots=True)
class RunCurve:
    """A run's best score over its samples, for comparison with other runs.

    Attributes:
        group: The settings in which it differs from the other runs, as text; runs of one group differ by seed.
        steps: Pairs of a sample number and the best score from there on.
        tuner_gain: Sum of the steps of the best score that the tuner's programs made.
        hypervolume: That of its front among the fronts of all runs compared; `None` where the score alone counts.
    """

    run_id: str
    problem: str
    group: str
    seed: int
    started_at: datetime
    samples: int
    seconds: float
    cost_usd: float
    start: float
    steps: tuple[tuple[int, float], ...]
    tuner_gain: float
    best: SplitScores
    stop_reason: str
    has_unknown_costs: bool = False
    hypervolume: float | None = None
