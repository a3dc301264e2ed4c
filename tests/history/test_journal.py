"""The journal: recorded completions and pending batch jobs survive killed processes and full disks."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overnight.schemas.completion_source import PendingBatch
from overnight.schemas.errors import DiskFault, HistoryError
from overnight.schemas.outcome import Outcome, StoredVerdict, Verdict
from overnight.schemas.program import Completion
from overnight.tasks.history import atomic_files
from overnight.tasks.history import journal as history_journal
from overnight.tasks.history.journal import (
    Journal,
    PendingBatches,
    prompts_of_journal,
    readable_completions,
    readable_verdicts,
)
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.made import NOW

text = st.text() | st.sampled_from(("", "\n", "\r\n\0\x1b[2J", '{"a": "\n"}', "\u2028\x85\ufeff", "é😀"))
amount = st.floats(0, 1e6)
completions = st.builds(
    Completion,
    prompt=st.integers(0, 5),
    sample=st.integers(0, 5),
    prompt_hash=text,
    text=text,
    model=text,
    tokens_in=st.integers(0, 2**31),
    tokens_out=st.integers(0, 2**31),
    cost_usd=st.none() | amount,
    latency_s=amount,
    finish_reason=text,
    asked_at=st.datetimes(timezones=st.just(UTC)),
    error=text,
    tokens_cached=st.integers(0, 2**31),
    evaluations=st.integers(0, 10**6),
)
ONE = Completion(0, 0, "hash", "return 1\n\nfirst", "test/model", 10, 2, 0.5, 0.25, "stop", NOW)
anywhere = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


verdicts = st.builds(
    StoredVerdict,
    candidate=st.integers(0, 5),
    code_hash=text,
    confirms=st.booleans(),
    under=text,
    verdict=st.builds(
        Verdict,
        outcome=st.sampled_from(Outcome),
        scores=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
        error=text,
        wall_s=amount,
        output=text,
        metrics=st.dictionaries(text, st.tuples(amount, st.none() | amount)),
        notes=st.tuples(text, text),
        calls=st.tuples(st.integers(0, 9)),
    ),
)


def keyed(made: list[Completion]) -> dict[tuple[int, int, str], Completion]:
    return {(completion.prompt, completion.sample, completion.prompt_hash): completion for completion in made}


def journal_at(path: Path) -> Journal:
    return Journal(path, LocalBackend(path.parents[3]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r" / "paid" / "000001.jsonl"


@anywhere
@given(st.lists(st.lists(completions, max_size=3), max_size=4))
def test_any_completion_is_read_back_unchanged(path: Path, batches: list[list[Completion]]):
    path.unlink(missing_ok=True)
    journal = journal_at(path)
    for batch in batches:
        journal.record(batch)
    made = keyed([completion for batch in batches for completion in batch])
    assert journal.known() == made
    assert journal_at(path).known() == made


@anywhere
@given(st.lists(completions, min_size=1, max_size=3), st.data())
def test_a_truncated_line_is_dropped_and_the_next_one_is_readable(
    path: Path, made: list[Completion], data: st.DataObject
):
    path.unlink(missing_ok=True)
    journal_at(path).record(made)
    whole = path.read_bytes()
    size = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:size])
    kept = made[: whole[:size].count(b"\n")]
    journal = journal_at(path)
    assert journal.known() == keyed(kept)
    journal.record([ONE])
    assert journal.known() == journal_at(path).known() == keyed([*kept, ONE])


@anywhere
@given(completions, st.lists(verdicts, min_size=1, max_size=3), st.data())
def test_verdicts_stand_beside_completions_and_a_truncated_one_is_dropped(
    path: Path, made: Completion, judged: list[StoredVerdict], data: st.DataObject
):
    path.unlink(missing_ok=True)
    journal = journal_at(path)
    journal.record([made])
    begin = path.stat().st_size
    journal.keep_verdicts(judged)
    assert journal.verdicts() == readable_verdicts(path) == judged
    assert journal.completions() == readable_completions(path) == [made]
    whole = path.read_bytes()
    size = data.draw(st.integers(begin, len(whole)))
    path.write_bytes(whole[:size])
    assert readable_verdicts(path) == judged[: whole[begin:size].count(b"\n")]
    again = journal_at(path)
    again.record([ONE])
    assert again.completions() == [made, ONE]


def test_a_damaged_verdict_is_none(path: Path):
    journal = journal_at(path)
    journal.record([ONE])
    journal.keep_verdicts([StoredVerdict(0, "a", False, "", Verdict(Outcome.SCORED, (1.0,)))])
    path.write_bytes(path.read_bytes().replace(b'"scored"', b'"perfect"'))
    assert journal_at(path).verdicts() == []
    assert journal_at(path).completions() == [ONE]


def test_verdicts_that_the_disk_does_not_take_are_not_written_later(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = journal_at(path)
    with monkeypatch.context() as full:
        full.setattr(history_journal, "append_lines", _refuse)
        with pytest.raises(DiskFault):
            journal.keep_verdicts([StoredVerdict(0, "a", False, "", Verdict(Outcome.SCORED, (1.0,)))])
    assert journal.waiting == 0, "no answer that is paid for"
    journal.record([ONE])
    assert journal.verdicts() == []


def _refuse(*_: object) -> None:
    raise DiskFault("the disk is full", remedy="")


def test_completions_are_keyed_by_the_hash_of_their_prompt(path: Path):
    journal = journal_at(path)
    journal.record([ONE, replace(ONE, prompt_hash="other", text="return 2")])
    assert {key[2]: completion.text for key, completion in journal.known().items()} == {
        "hash": ONE.text,
        "other": "return 2",
    }


def test_a_line_of_an_earlier_version_counts_no_cached_tokens(path: Path):
    journal_at(path).record([replace(ONE, tokens_cached=9)])
    text = path.read_text()
    path.write_text(text.replace(',"tokens_cached":9', ""))
    assert path.read_text() != text
    (completion,) = journal_at(path).known().values()
    assert completion == ONE
    assert completion.tokens_cached == 0


def test_a_missing_journal_is_empty_and_is_not_created(path: Path):
    journal = journal_at(path)
    assert journal.known() == {}
    assert not path.exists()
    journal.discard()
    journal.record([ONE])
    journal.discard()
    assert not path.exists()


def test_threads_write_one_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = journal_at(path)
    writing = threading.Lock()
    together = []

    def alone(*arguments: Any) -> None:
        together.append(not writing.acquire(blocking=False))
        time.sleep(0.001)
        atomic_files.append_lines(*arguments)
        if not together[-1]:
            writing.release()

    monkeypatch.setattr(history_journal, "append_lines", alone)

    def work(prompt: int) -> None:
        for sample in range(10):
            journal.record([replace(ONE, prompt=prompt, sample=sample, text="x" * 20_000)])

    threads = [threading.Thread(target=work, args=(prompt,)) for prompt in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal_at(path).known()) == 40
    assert not any(together), "else a failed append would truncate another thread's lines"


def test_completions_are_synced_to_disk(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal_at(path).record([ONE])
    synced = []
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (original(descriptor), synced.append(path.read_bytes())))
    journal_at(path).record([replace(ONE, sample=1)])
    assert synced == [path.read_bytes()]
    assert synced[0].count(b"\n") == 2


@pytest.mark.parametrize(
    ("is_truncated", "lost"), [(True, 20), (False, 20), (False, 0)], ids=["truncated", "torn", "whole"]
)
def test_a_full_disk_leaves_no_partial_line_and_costs_no_completion(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_truncated: bool, lost: int
):
    journal = journal_at(path)
    journal.record([ONE])
    with monkeypatch.context() as full:

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def torn(handle: IO[bytes]) -> None:
            handle.flush()
            os.ftruncate(handle.fileno(), path.stat().st_size - lost)
            fail()

        full.setattr(atomic_files, "sync", torn)
        if not is_truncated:
            full.setattr(atomic_files.os, "truncate", fail)
        for sample in (1, 2):
            with pytest.raises(DiskFault, match="No space left"):
                journal.record([replace(ONE, sample=sample)])
            assert [completion.sample for completion in journal.known().values()][:1] == [0]
        assert journal.waiting == 2
    if is_truncated:
        assert [completion.sample for completion in journal.known().values()] == [0], "nothing else is on disk"
    journal.write_waiting()
    assert journal.waiting == 0
    journal.record([replace(ONE, sample=3)])
    assert [completion.sample for completion in journal_at(path).completions()] == [0, 1, 2, 3], "none counts twice"


def test_the_error_names_a_damaged_line_and_has_a_remedy(path: Path):
    journal_at(path).record([ONE, replace(ONE, sample=1)])
    lines = path.read_bytes().splitlines()
    path.write_bytes(lines[0] + b'\n{"prompt": 1\n' + lines[1] + b"\n")
    with pytest.raises(HistoryError, match=r"000001\.jsonl:2 is damaged") as caught:
        journal_at(path).known()
    assert "remove the line" in caught.value.remedy


def test_the_names_of_a_new_file_and_its_folders_are_synced_to_disk(path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(atomic_files.os, "fsync", noted)
    journal = journal_at(path)
    journal.record([ONE])
    assert {path, path.parent, *path.parents[1:3]} <= set(synced)
    synced.clear()
    journal.record([replace(ONE, sample=1)])
    assert synced == [path], "for an existing file, only its content is synced"


# Pending batch jobs

SLIP = PendingBatch("20260101-a", "openai/x", NOW, usd=0.5, tokens=100)


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


def test_a_batch_whose_id_the_disk_does_not_take_is_collected_and_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise DiskFault("No space left on device", remedy="Free some space.")

    pending_batches = PendingBatches(tmp_path / "paid", LocalBackend(tmp_path))
    pending_batches.keep(SLIP)
    submitted = replace(SLIP, batch_id="batch_1")
    with monkeypatch.context() as full:
        full.setattr(history_journal, "append_lines", fail)
        for one in (submitted, replace(SLIP, key="20260101-b")):
            with pytest.raises(DiskFault):
                pending_batches.keep(one)
    assert pending_batches.all() == [submitted], "what was not submitted is none"
    pending_batches.drop(submitted)
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


def test_a_journal_says_with_how_many_prompts_its_generation_ended_early(path: Path):
    journal = journal_at(path)
    journal.record([ONE])
    assert prompts_of_journal(path) == (None, 1, "")
    journal.end_early(3)
    assert prompts_of_journal(path) == (3, 1, "")
    assert journal.completions() == readable_completions(path) == [ONE], "which is no completion"


def test_an_early_end_that_the_disk_did_not_take_is_not_written_later(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = journal_at(path)
    with monkeypatch.context() as full:
        full.setattr(history_journal, "append_lines", failing)
        with pytest.raises(DiskFault):
            journal.end_early(3)
    journal.record([ONE])
    assert prompts_of_journal(path) == (None, 1, "")
    assert journal.completions() == [ONE]


def failing(path: Path, _: list[bytes]) -> None:
    raise DiskFault(f"{path}: no space left", remedy="Make room.")
