"""Decisions after a failure."""

from __future__ import annotations

from overnight.flows.night.retry_policy import LONGEST_WAIT_S, RetryPolicy
from overnight.schemas.errors import Outage
from overnight.testing.made import NOW


def test_pauses_get_longer_up_to_a_limit_however_many_there_are():
    policy, waits = RetryPolicy(retries=2, failures=5), list[float]()
    for _ in range(1100):
        policy.count(1, Outage("the engine is gone"), seconds=0.0)
        waits.append(policy.wait_s)
    assert waits[:7] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_WAIT_S]
    assert set(waits[7:]) == {LONGEST_WAIT_S}
    said = policy.message("the engine is gone", Outage(""), NOW, seconds=0.0)
    assert said == "paused: the engine is gone; next attempt in 300 s"
