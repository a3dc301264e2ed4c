"""What is kept of batches that a provider has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import HistoryError
from schemas.mail import Slip
from tasks.history.slips import Slips

SLIP = Slip("20260101-a", "openai/x", datetime(2026, 1, 1, tzinfo=UTC), usd=0.5, tokens=100)


def test_a_slip_is_there_from_before_it_is_sent_until_it_is_dropped(tmp_path: Path):
    slips = Slips(tmp_path / "paid")
    assert slips.all() == []
    slips.keep(SLIP)
    assert slips.all() == [SLIP]
    slips.keep(replace(SLIP, batch_id="batch_1"))
    assert slips.all() == [replace(SLIP, batch_id="batch_1")]
    slips.drop(SLIP)
    slips.drop(SLIP)
    assert slips.all() == []


def test_a_line_that_a_crash_cut_short_does_not_count(tmp_path: Path):
    slips = Slips(tmp_path)
    slips.keep(SLIP)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b'{"key": "2026')
    assert slips.all() == [SLIP]
    path.write_bytes(b'{"key": "2026')
    assert slips.all() == [], "nothing was sent before the first line was whole"


def test_a_damaged_slip_is_told_with_its_place(tmp_path: Path):
    (tmp_path / "x.slip").write_bytes(b"no\n")
    with pytest.raises(HistoryError, match=r"x\.slip is damaged"):
        Slips(tmp_path).all()
