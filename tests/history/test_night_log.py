"""The log of a night: text that a killed process leaves readable, and that cannot steer a terminal."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from overnight.tasks.history.files import files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.night_log import log_line, read_log


def test_lines_are_kept_by_night_with_their_time_and_written_to_python_s_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    files = files_of(LocalBackend(tmp_path), "toy")
    with caplog.at_level(logging.INFO, "overnight.night"):
        log_line(files, 2, "started")
        log_line(files, 10, "paused: no\nanswer \x1b[31m")
    first, second = read_log(files)
    assert (first[0], second[0]) == (2, 10)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 started", first[1])
    assert second[1].endswith(r" paused: no answer \x1b[31m")
    assert caplog.messages == ["toy, night 2: started", r"toy, night 10: paused: no answer \x1b[31m"]


def test_a_night_goes_on_where_its_log_cannot_be_written(tmp_path: Path):
    (tmp_path / "runs").touch()
    files = files_of(LocalBackend(tmp_path), "toy")
    log_line(files, 1, "started")
    assert read_log(files) == []


def test_a_link_in_place_of_a_log_is_not_followed(tmp_path: Path):
    files = files_of(LocalBackend(tmp_path), "toy")
    files.night_log(1).parent.mkdir(parents=True)
    (tmp_path / "other").write_text("secret\n")
    files.night_log(1).symlink_to(tmp_path / "other")
    assert read_log(files) == []
