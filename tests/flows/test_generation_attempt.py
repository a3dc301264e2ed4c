"""What an attempt at a generation commits after others that were killed, cut short or had other prompts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.generation_attempt import NothingJudged
from flows.session import Session
from schemas.generation import NightRecord, StopReason
from schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from tasks.history import record
from tasks.history.database import Database
from tasks.history.files import RunFiles
from tasks.history.journal import Journal
from tests.flows.attempts import Answers, Attempt, Killed, Scores, opened
from tests.history.made import NOW, create

GREEDY = {"algorithm": "greedy", "samples": 1}


def night(files: RunFiles, number: int, *, generations: int = 0, ended: StopReason | None = None) -> None:
    """Write the row of a night."""
    best = record.read_run_history(files).start
    end = NOW + timedelta(hours=1) if ended else None
    row = NightRecord(number, NOW, best.score, best.score, best.id, end, generations=generations, stop_reason=ended)
    record.write_night(files, row)


def kept(files: RunFiles) -> int:
    """The number of answers in the journal of generation 1."""
    return len(Journal(files.journal(1), files.backend).known())


@pytest.fixture
def bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFiles:
    """A run of which a night paid for the six answers of generation 1 and was killed before the commit."""
    files, answers = create(tmp_path, prompts=6, window=1, **GREEDY), Answers()
    night(files, 1)
    with opened(files, monkeypatch, answers, Scores()) as session, pytest.raises(Killed):
        Attempt(session, 1, is_killed=True).run()
    assert len(answers.bought) == kept(files) == 6
    return files


def cut_at_the_third_program(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a further night, whose deadline comes while it evaluates the third program again."""
    sandbox = Scores()
    with opened(files, monkeypatch, Answers(), sandbox) as session:
        sandbox.before = lambda number: session.cut() if number == 3 else None
        Attempt(session, 1).run()


def test_answers_that_are_paid_for_outlive_a_deadline(bought: RunFiles, monkeypatch: pytest.MonkeyPatch):
    night(bought, 1, ended=StopReason.INTERRUPTED)
    night(bought, 2)
    with pytest.raises(NothingJudged):
        cut_at_the_third_program(bought, monkeypatch)
    assert kept(bought) == 6
    assert record.read_spent_usd(bought) == 6
    answers = Answers()
    with opened(bought, monkeypatch, answers, Scores()) as session:
        assert len(Attempt(session, 1).run()) == 6
    assert answers.bought == []
    assert record.read_spent_usd(bought) == 6


def test_of_two_nights_that_are_too_short_for_them_the_second_commits(
    bought: RunFiles, monkeypatch: pytest.MonkeyPatch
):
    night(bought, 1, ended=StopReason.DEADLINE)
    night(bought, 2)
    cut_at_the_third_program(bought, monkeypatch)
    rows = Database(bought.directory.parents[1]).rows("FROM programs WHERE generation = 1 ORDER BY index")
    assert [row["outcome"] for row in rows][:2] == ["scored", "scored"]
    assert len(rows) < 6
    (run,) = Database(bought.directory.parents[1]).rows("SELECT cost_usd FROM runs")
    assert run["cost_usd"] == record.read_spent_usd(bought) == 6, "what was not used cost money, too"


def test_a_prompt_that_changed_leaves_its_answer_unused_and_its_price_in_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files, answers = create(tmp_path, prompts=3, window=1, **GREEDY), Answers()
    night(files, 1)
    with opened(files, monkeypatch, answers, Scores()) as session, pytest.raises(Killed):
        Attempt(session, 1, is_killed=True).run()
    slow = Scores(verdict=lambda _: Verdict(Outcome.TIMED_OUT, error="too slow this time"))
    with opened(files, monkeypatch, answers, slow) as session:
        Attempt(session, 1).run()
    assert len(answers.bought) > 3, "later prompts tell of other results"
    (row,) = Database(tmp_path).rows("SELECT cost_usd, unused_usd FROM generations WHERE generation = 1")
    assert row["unused_usd"] == len(answers.bought) - 3
    assert row["cost_usd"] == record.read_spent_usd(files) == len(answers.bought)


class TestTwinsOfAProgramThatWasNotConfirmed:
    """A would-be best was proposed twice in a generation, and the deadline came before its confirmation."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> RunFiles:
        return create(tmp_path, prompts=2, window=2, **GREEDY)

    def attempt(self, session: Session, number: int) -> list[Outcome]:
        return [one.verdict.outcome for one in Attempt(session, number).run()]

    @pytest.mark.parametrize("samples", [1, 2])
    def test_none_of_them_counts_as_judged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int):
        files = create(tmp_path, algorithm="greedy", prompts=2 // samples, window=2, samples=samples)
        night(files, 1)
        same = Answers(text=lambda _: "9.5")
        with opened(files, monkeypatch, same, Scores(), confirms_in=Scores()) as session:
            session.cut_confirmations()
            judged = Attempt(session, 1).run()
            assert [one.verdict.outcome for one in judged] == [Outcome.SANDBOX_ERROR] * 2
            assert all(one.verdict.error.endswith(STOPPED_BY_DEADLINE.error) for one in judged)
            assert judged[0].candidate.code_hash not in session.state.hashes
        assert judged[0].candidate.code_hash not in record.read_run_history(files).code_hashes
        with opened(files, monkeypatch, same, Scores(), confirms_in=Scores()) as session:
            assert self.attempt(session, 2) == [Outcome.SCORED, Outcome.DUPLICATE]

    def test_twins_of_one_that_is_confirmed_are_duplicates(self, files: RunFiles, monkeypatch: pytest.MonkeyPatch):
        night(files, 1)
        same = Answers(text=lambda _: "9.5")
        with opened(files, monkeypatch, same, Scores(), confirms_in=Scores()) as session:
            assert self.attempt(session, 1) == [Outcome.SCORED, Outcome.DUPLICATE]
            assert self.attempt(session, 2) == [Outcome.DUPLICATE, Outcome.DUPLICATE]
