"""The recording of the first minutes can be played, is short, and shows commands that the documentation names."""

from __future__ import annotations

import json
import re

import pytest

from tests import docs
from tests.report.record import CAST, COMMANDS, Event, cut, thinned

ERASE = "\r\x1b[2K\x1b[1A\x1b[2K"
"""What precedes a frame that replaces one of two lines."""


@pytest.fixture(scope="module")
def lines() -> list[list]:
    """The events of the recording, without its header."""
    return [json.loads(line) for line in CAST.read_text().splitlines()[1:]]


def test_it_is_an_asciicast_of_at_most_three_minutes_and_300_kb(lines: list[list]):
    header = json.loads(CAST.read_text().splitlines()[0])
    assert (header["version"], header["width"], header["height"]) == (2, 100, 30)
    times = [at for at, _, _ in lines]
    assert times == sorted(times)
    assert 30 <= times[-1] <= 180
    assert CAST.stat().st_size < 300_000
    assert {kind for _, kind, _ in lines} == {"o", "m"}


def test_it_shows_no_error_and_no_path_of_the_machine_that_recorded_it(lines: list[list]):
    text = "".join(data for _, kind, data in lines if kind == "o")
    assert not re.search(r"/(?:work|tmp|root|home)\b", text)
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text)
    assert not re.search(r"Traceback|error:|\bfailed\b", text)
    assert "best program" in text


def test_its_commands_are_typed_and_stand_in_the_main_readme(lines: list[list]):
    markers = [data for _, kind, data in lines if kind == "m"]
    text = "".join(data for _, kind, data in lines if kind == "o")
    readme = (docs.ROOT / "README.md").read_text()
    assert markers == list(COMMANDS)
    for command in markers:
        assert command in readme
        assert command[:60] in text


def test_frames_that_others_replace_are_left_out_but_no_message():
    events: list[Event] = [(0.0, "o", "one\r\ntwo")]
    events += [(1.0 + k / 4, "o", f"{ERASE}one {k}\r\ntwo") for k in range(40)]
    events.insert(20, (5.7, "o", f"{ERASE}a message\r\none\r\ntwo"))
    kept = list(thinned(events))
    assert events[0] in kept
    assert events[20] in kept
    assert kept[-1] == events[-1]
    assert 4 <= len(kept) <= 8


def test_waits_are_cut_and_time_counts_from_zero():
    assert [at for at, _, _ in cut([(7.0, "o", "a"), (7.5, "o", "b"), (99.0, "o", "c")])] == [0.0, 0.5, 1.5]
