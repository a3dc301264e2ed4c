"""A replay says at its beginning how long it takes, by the seconds that are recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from overnight.flows.cli.replay import takes_in_words
from overnight.flows.night.replay import RecordedRun
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import RunHistory, Step
from overnight.schemas.outcome import Outcome

ANSWER = Feedback("start", "return 1", Outcome.SCORED, "", "", (1.0,), 1.0, cpu_s=90.0)


def test_the_seconds_of_all_answers_are_added():
    records = {
        0: PromptRecord("0", "refine", "openai/a", (ANSWER, replace(ANSWER, cpu_s=30.0))),
        1: PromptRecord("0", "refine", "openai/a", (replace(ANSWER, cpu_s=0.0),)),
    }
    past = RunHistory({}, (Step(1, is_committed=True, records=records), Step(2, is_committed=True)), frozenset())
    assert RecordedRun(cast("Any", None), cast("Any", None), past, {}, [], []).cpu_s == 120.0


@pytest.mark.parametrize(("seconds", "said"), [(19.0, ""), (540.0, "takes 9 min 00 s or more")])
def test_a_dear_replay_says_how_long_it_takes(seconds: float, said: str):
    assert takes_in_words(seconds).endswith(said)
    assert bool(takes_in_words(seconds)) is bool(said)
