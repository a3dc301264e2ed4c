"""Limits that `overnight check` proposes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.proposed_limits import propose, round_up
from schemas.job import Limits
from schemas.outcome import Outcome, Verdict


def verdict(*seconds: float, cpu_s: float = 0.1, peak_mib: float = 25.0) -> Verdict:
    return Verdict(Outcome.SCORED, (1.0,) * len(seconds), cpu_s=cpu_s, peak_mib=peak_mib, input_wall_s=seconds)


@pytest.mark.parametrize(("value", "rounded"), [(0.0, 0), (0.3, 0.5), (1, 1), (1.1, 2), (21, 50), (50, 50), (51, 100)])
def test_values_are_rounded_up_to_round_numbers(value: float, rounded: float):
    assert round_up(value) == pytest.approx(rounded)


def test_the_slowest_input_of_any_split_counts():
    limits = propose([verdict(0.1, 0.4), verdict(0.9), verdict(0.2, cpu_s=3.0, peak_mib=100)], Limits())
    assert (limits.wall_s, limits.cpu_s, limits.memory_mib) == (10, 50, 512)


def test_limits_that_the_verdicts_say_nothing_about_are_kept():
    assert propose([verdict(0.1)], Limits(output_kib=7, scratch_mib=9)) == Limits(
        wall_s=1, cpu_s=1, memory_mib=128, output_kib=7, scratch_mib=9
    )


VERDICTS = st.builds(
    lambda seconds, cpu, mib: verdict(*seconds, cpu_s=cpu, peak_mib=mib),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=3),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)


@given(st.lists(VERDICTS, min_size=1, max_size=3))
def test_proposed_limits_are_always_above_the_measured_use(verdicts: list[Verdict]):
    limits = propose(verdicts, Limits())
    for measured in verdicts:
        assert limits.wall_s >= 9.99 * max(measured.input_wall_s)
        assert limits.cpu_s is not None
        assert limits.cpu_s >= 9.99 * measured.cpu_s
        assert limits.memory_mib >= 4 * measured.peak_mib
