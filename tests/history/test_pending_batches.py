"""Pending batch jobs on disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.completion_source import PendingBatch
from schemas.errors import HistoryError
from tasks.history.journal import PendingBatches
from tasks.history.local_backend import LocalBackend

SLIP = PendingBatch("20260101-a", "openai/x", datetime(2026, 1, 1, tzinfo=UTC), usd=0.5, tokens=100)


def test_a_batch_is_on_disk_from_before_it_is_submitted_until_it_is_dropped(tmp_path: Path):
    pending_batches = PendingBatches(tmp_path / "paid", LocalBackend(tmp_path))
    assert pending_batches.all() == []
    pending_batches.keep(SLIP)
    assert pending_batches.all() == [SLIP]
    pending_batches.keep(replace(SLIP, batch_id="batch_1"))
    assert pending_batches.all() == [replace(SLIP, batch_id="batch_1")]
    pending_batches.drop(SLIP)
    pending_batches.drop(SLIP)
    assert pending_batches.all() == []


def test_a_line_that_a_crash_cut_short_is_ignored(tmp_path: Path):
    pending_batches = PendingBatches(tmp_path, LocalBackend(tmp_path))
    pending_batches.keep(SLIP)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b'{"key": "2026')
    assert pending_batches.all() == [SLIP]
    path.write_bytes(b'{"key": "2026')
    assert pending_batches.all() == [], "nothing is submitted before the first line is complete"


def test_the_error_names_a_damaged_file(tmp_path: Path):
    (tmp_path / "x.slip").write_bytes(b"no\n")
    with pytest.raises(HistoryError, match=r"x\.slip is damaged"):
        PendingBatches(tmp_path, LocalBackend(tmp_path)).all()
