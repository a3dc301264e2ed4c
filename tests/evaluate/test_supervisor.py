"""How often a child is looked at: seldom if it takes long, since hundreds of them share the processors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluate.runner.supervisor import tick_s


def checks(seconds: float, *, is_notified: bool = True) -> int:
    """Number of checks of a child that only sleeps."""
    elapsed, count = 0.0, 0
    while elapsed < seconds:
        elapsed += tick_s(elapsed, is_notified=is_notified)
        count += 1
    return count


@pytest.mark.parametrize(("seconds", "most"), [(0.05, 1), (0.5, 11), (5, 36), (60, 110)])
def test_a_child_that_takes_long_is_looked_at_seldom(seconds: float, most: int):
    assert checks(seconds) <= most


def test_where_the_kernel_does_not_notify_its_end_it_is_looked_at_twenty_times_a_second():
    assert checks(5, is_notified=False) in (100, 101)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_check_is_later_than_a_tenth_of_the_time_so_far_or_a_second(one: float, other: float):
    first, second = sorted((one, other))
    assert 0.05 <= tick_s(first, is_notified=True) <= tick_s(second, is_notified=True) <= 1
    assert tick_s(second, is_notified=True) <= max(0.05, 0.1 * second)
