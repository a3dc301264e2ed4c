"""The same after a resume as without a break, whatever a night does: one row of `KINDS` for each kind of night.

Where something happens in between, what comes out again is tried where that is: answers that fail (`test_replay.py`),
kills (`test_core.py`, `test_judge_in_a_night.py`), what people ask for, agents, batches and starts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.night.conftest import TwoNights
from tests.flows.night.kinds import KINDS
from tests.flows.nights import require_replay


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_resumed_from_its_files_is_the_search_without_a_break_that_its_replay_is(
    kind: str, two_nights: TwoNights, tmp_path: Path
):
    require_replay(two_nights(kind), tmp_path / "again")
