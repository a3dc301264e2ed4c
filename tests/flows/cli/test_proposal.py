from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.proposed_limits import propose, round_up
from schemas.job import Limits
from schemas.outcome import Outcome, Verdict


def used(*seconds: float, cpu_s: float = 0.1, peak_mib: float = 25.0) -> Verdict:
    return Verdict(Outcome.SCORED, (1.0,) * len(seconds), cpu_s=cpu_s, peak_mib=peak_mib, input_wall_s=seconds)


@pytest.mark.parametrize(("value", "rounded"), [(0.0, 0), (0.3, 0.5), (1, 1), (1.1, 2), (21, 50), (50, 50), (51, 100)])
def test_rounding_is_upwards_to_numbers_people_write(value: float, rounded: float):
    assert round_up(value) == pytest.approx(rounded)


def test_the_slowest_input_of_any_split_counts():
    limits = propose([used(0.1, 0.4), used(0.9), used(0.2, cpu_s=3.0, peak_mib=100)], Limits())
    assert (limits.wall_s, limits.cpu_s, limits.memory_mib) == (10, 50, 512)


def test_what_a_program_use_says_nothing_about_stays():
    assert propose([used(0.1)], Limits(output_kib=7, scratch_mib=9)) == Limits(
        wall_s=1, cpu_s=1, memory_mib=128, output_kib=7, scratch_mib=9
    )


USE = st.builds(
    lambda seconds, cpu, mib: used(*seconds, cpu_s=cpu, peak_mib=mib),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=3),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)


@given(st.lists(USE, min_size=1, max_size=3))
def test_there_is_always_room_above_what_was_used(verdicts: list[Verdict]):
    limits = propose(verdicts, Limits())
    for verdict in verdicts:
        assert limits.wall_s >= 9.99 * max(verdict.input_wall_s)
        assert limits.cpu_s is not None
        assert limits.cpu_s >= 9.99 * verdict.cpu_s
        assert limits.memory_mib >= 4 * verdict.peak_mib
