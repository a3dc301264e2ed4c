"""What commands say of schedules without a deadline, and of a crashed night with which a later one went on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.cli.schedule import last_night, without_deadline
from overnight.schemas.generation import NightRecord, StopReason
from overnight.tasks.history import record
from overnight.testing.made import NOW, create

DEADLINE = {"until": "07:00", "time_zone": "UTC"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"deadline": DEADLINE}, ""),
        ({"deadline": None, "rules": {"max_samples": 9}}, "without --until, a night whose process dies is given up"),
        (
            {},
            "nothing ends a night, and while it is under way, later ones are cancelled; without --until",
        ),
    ],
)
def test_a_schedule_without_a_deadline_is_warned_of(parameters: dict[str, Any], expected: str):
    said = without_deadline(parameters)
    assert said.startswith(expected)
    assert bool(said) == bool(expected)


def test_a_night_that_crashed_and_was_gone_on_with_is_listed_as_that(tmp_path: Path):
    files = create(tmp_path)
    schedule: Any = SimpleNamespace(
        last="Crashed: no heartbeat", parameters={"history": str(tmp_path)}, run_id=files.run_id
    )
    crashed = NightRecord(1, NOW, -9.0, -9.0, "")
    record.write_night(files, crashed)
    assert last_night(schedule) == schedule.last
    record.write_night(files, replace(crashed, number=2, ended_at=NOW, stop_reason=StopReason.SAMPLES))
    assert last_night(schedule) == "night 2 went on after a crash, and stopped by: samples"
