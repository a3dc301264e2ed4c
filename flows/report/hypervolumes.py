"""Hypervolumes of the fronts of runs with the same objectives, by which they are compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from overnight.schemas.objectives import Objectives
from overnight.tasks.history.database import Database
from overnight.tasks.select.front import Goals, hypervolume

_FRONTS = "SELECT run_id, score, metrics FROM front WHERE run_id IN (SELECT unnest(?::VARCHAR[]))"

_BELOW = -0.1
"""Reference point in each objective, below the worst of all fronts: in units of their range, so that ends count."""


def hypervolumes(database: Database, objectives: Mapping[str, Objectives]) -> dict[str, float]:
    """Return the hypervolume of each run's front, between 0 and 1: the share of what could be dominated.

    Every objective is in units of its range over the fronts of all runs, so that hypervolumes of one comparison compare
    with each other, and with no others. Runs without objectives, or with others than the first run, have none.
    """
    first = next((one for one in objectives.values() if one.metrics), None)
    alike = [run_id for run_id, one in objectives.items() if first and one.metrics == first.metrics]
    fronts: defaultdict[str, list[Goals]] = defaultdict(list)
    for row in database.rows(_FRONTS, [alike]) if alike else ():
        fronts[row["run_id"]].append(objectives[row["run_id"]].goals(row["score"], dict(row["metrics"])))
    return shares(fronts, [goals for front in fronts.values() for goals in front])


def shares(fronts: Mapping[str, Sequence[Goals]], everything: Sequence[Goals]) -> dict[str, float]:
    """Return the share of the space that each front dominates, scaled by the ranges of everything there is."""
    ranges = [(min(values), max(values)) for values in zip(*everything, strict=True)]
    reference = (_BELOW,) * len(ranges)

    def scaled(goals: Goals) -> Goals:
        """Return goals in units of the ranges; 1 where there is no range."""
        pairs = zip(goals, ranges, strict=True)
        return tuple((value - low) / (high - low) if high > low else 1.0 for value, (low, high) in pairs)

    whole = (1 - _BELOW) ** len(ranges)
    return {name: hypervolume([scaled(one) for one in front], reference) / whole for name, front in fronts.items()}
