"""Words on what is known of a run and not committed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overnight.flows.cli.printing import count, history_flag, score
from overnight.schemas.report_data import UnderWay

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles


def in_short(under_way: UnderWay) -> str:
    """Return how many samples are in generations under way, and their best score if it is above the best."""
    if under_way.is_left_out:
        return f"{under_way.samples:,} left out, as the best score is proven"
    claim = under_way.claim
    best = f", the best so far {score(claim.score)} (uncommitted)" if claim else ""
    return f"{under_way.samples:,} of a generation under way{best}"


def note(files: RunFiles, under_way: UnderWay) -> str:
    """Return the same with the place of the best one, and the command that shows or commits it; empty without any."""
    from overnight.tasks.history.run_lock import is_under_way

    if not under_way.samples:
        return ""
    if under_way.is_left_out:
        were = f"{count(under_way.samples, 'sample')} of {files.run_id} left out"
        return f"{were}: the best score was reached, which is proven, before they could be committed"
    claim, run = under_way.claim, f"{files.run_id}{history_flag(files.backend)}"
    place = f" with sample {claim.sample} of generation {claim.generation}" if claim else ""
    is_running = bool(nights := files.nights()) and is_under_way(nights[-1])
    how = f"follow it: overnight watch {run}" if is_running else f"go on with it: overnight resume {run}"
    best = f", the best so far {score(claim.score)}{place}, unconfirmed" if claim else ""
    return f"{count(under_way.samples, 'sample')} of {files.run_id} not committed yet{best}; {how}"
