"""What a night may ask, and which answers it may use, while some cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from overnight.flows.formatting import cause_text
from overnight.flows.night.completions import CompletionStores, RequestLimits
from overnight.flows.night.progress import Progress
from overnight.schemas.errors import DiskFault
from overnight.tasks.history import atomic_files, journal
from overnight.tasks.history import files as history_files
from overnight.testing.made import an_answer, create

FULL = DiskFault("the disk is full", remedy="")


@pytest.fixture
def limits(tmp_path: Path) -> RequestLimits:
    return RequestLimits(create(tmp_path), Progress(best=0.0).requests)


@pytest.fixture
def stores(limits: RequestLimits, monkeypatch: pytest.MonkeyPatch) -> CompletionStores:
    """Stores of a generation with an answer that the disk has not taken yet."""
    made = CompletionStores(limits.files, Progress(best=0.0), limits)
    made.open(1)
    with monkeypatch.context() as full:
        full.setattr(journal, "append_lines", fail)
        with pytest.raises(DiskFault):
            made.keep_answer(an_answer())
    return made


def fail(*_: object) -> None:
    raise FULL


def test_no_answer_counts_as_kept_before_it_is_written(
    stores: CompletionStores, limits: RequestLimits, monkeypatch: pytest.MonkeyPatch
):
    write, seen = journal.append_lines, list[object]()

    def look(path: Path, lines: list[bytes]) -> None:
        seen.append(limits.fault)
        write(path, lines)

    monkeypatch.setattr(journal, "append_lines", look)
    stores.write_waiting()
    assert seen == [FULL], "a judge that asks now is not told that its answer is kept"
    assert limits.may_judge()


def test_an_answer_that_cannot_be_kept_while_others_are_written_lets_nothing_be_asked(
    stores: CompletionStores, limits: RequestLimits
):
    with limits.mending(), pytest.raises(DiskFault), limits.noting_fault():
        raise DiskFault("it is full again", remedy="")
    with pytest.raises(DiskFault, match="it is full again"):
        limits.may_judge()


def test_nothing_is_asked_until_all_answers_are_written(
    stores: CompletionStores, limits: RequestLimits, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as full:
        full.setattr(journal, "append_lines", fail)
        with pytest.raises(DiskFault):
            stores.write_waiting()
    with pytest.raises(DiskFault):
        limits.may_judge()
    stores.write_waiting()
    assert limits.may_judge()


def test_one_full_disk_is_one_cause_of_pauses_wherever_it_is_noticed(
    limits: RequestLimits, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = limits.files
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=1, f_bavail=10, f_blocks=1))
    for module in (history_files, atomic_files):
        monkeypatch.setattr(module, "open_private", full)
    causes = set[str]()
    for write in (files.probe, limits.may_judge, lambda: atomic_files.append_lines(files.journal(1), [b"one"])):
        with pytest.raises(DiskFault) as caught:
            write()
        causes.add(cause_text(caught.value))
    assert causes == {"the history cannot be written: No space left on device"}
