"""Texts are compared without what they say of their moment, and nights without what they did meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.schemas.generation import NightRecord, StopReason
from overnight.tasks.history import record
from overnight.tasks.history.differences import compare, without_moments
from overnight.testing.made import NOW, create


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<object at 0x7f12ab>", "<object at 0x55de01>"),
        ("no solution after 3.25 s", "no solution after 12s"),
        ("it took 17 ms, 1.5e-05 seconds in the loop", "it took 4.5 ms, 2.0 seconds in the loop"),
        ("elapsed: 0.123", "elapsed: 17"),
        ("time=1.5", "time=20.25"),
        ("[2026-11-30 23:59:59.123] begin", "[2026-12-01 00:00:01.5] begin"),
        ("2026-11-30T23:59:59Z", "2026-12-01T00:00:01Z"),
        ("0:00:01.5 in all", "1:02:03 in all"),
        ("pid 17 ended", "pid 4321 ended"),
        ("Process 9: killed", "Process 12: killed"),
        ("no file /tmp/tmpab12/x.txt", "no file /tmp/tmpzz99/x.txt"),
        ("NameError: no x, in line 152 (x), on input 1 of 2", "NameError: no x, in line 2 (x), on input 1 of 2"),
        ("NameError: no x, in line 15 (x), on input 1 of 2", "NameError: no x, in (x), on input 1 of 2"),
        (
            "TypeError: no, in line 9 (f(x)), on input",
            "TypeError: no, in line 8 of the problem's file (f(x)), on input",
        ),
        ("cannot read /proc/17/stat", "cannot read /proc/4321/stat"),
        (
            "took more than 20 s of wall clock, not counting 1.2 s in which other programs kept it from running",
            "took more than 20 s of wall clock, not counting 31.0 s in which other programs kept it from running",
        ),
    ],
)
def test_moments_make_no_difference(one: str, other: str):
    assert without_moments(one) == without_moments(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("scored 0.125, then 0.25", "scored 0.125, then 0.5"),
        ("expected 3 items", "expected 4 items"),
        ("line 12 of solve", "line 13 of solve"),
        ("ValueError: 7", "ValueError: 8"),
        ("version 1.2.3", "version 1.2.4"),
        ("x1s", "x2s"),
    ],
)
def test_anything_else_does(one: str, other: str):
    assert without_moments(one) != without_moments(other)


@pytest.mark.parametrize("is_over", [True, False])
def test_a_night_that_went_on_while_it_was_repeated_is_not_compared(tmp_path: Path, is_over: bool):
    recorded, repeated = create(tmp_path / "recorded"), create(tmp_path / "repeated")
    then = NightRecord(1, NOW, -9.0, -9.0, "x", samples=8, ended_at=NOW if is_over else None)
    record.write_night(repeated, then)
    record.write_night(recorded, replace(then, samples=12, ended_at=NOW, stop_reason=StopReason.SAMPLES))
    found = compare(recorded, repeated, [0]).first
    assert (found is not None and found.table == "nights") == is_over
