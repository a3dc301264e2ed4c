"""A replay says at its beginning how long it takes, by the seconds that are recorded."""

from __future__ import annotations

from typing import Any, cast

import pytest

from overnight.flows.cli.replay import takes_in_words
from overnight.flows.night.recorded_run import RecordedRun
from overnight.schemas.generation import RunHistory
from overnight.schemas.program import Program


def test_the_seconds_of_all_scored_programs_are_added():
    programs = [
        Program(name, "return 1", (1.0,), 1.0, cpu_s=cpu_s) for name, cpu_s in (("a", 90.0), ("b", 30.0), ("c", 0.0))
    ]
    past = RunHistory({one.id: one for one in programs}, (), frozenset())
    assert RecordedRun(cast("Any", None), cast("Any", None), past, {}, [], []).cpu_s == 120.0


@pytest.mark.parametrize(("seconds", "said"), [(19.0, ""), (540.0, "takes 9 min 00 s or more")])
def test_a_dear_replay_says_how_long_it_takes(seconds: float, said: str):
    assert takes_in_words(seconds).endswith(said)
    assert bool(takes_in_words(seconds)) is bool(said)
