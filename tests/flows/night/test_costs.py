"""The books agree: nights that are killed, fail and give up, against a provider that keeps its own books.

Stores, commits, rows and queries are the real ones; what a night does with them, in which order, is drawn from a seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from overnight.flows.night.completions import CompletionStores, RequestLimits
from overnight.flows.night.progress import Progress
from overnight.flows.report.build import build_report
from overnight.schemas.generation import NightRecord, StopReason
from overnight.schemas.program import QUESTION, TURN, Completion, Judged
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.testing.made import NOW, a_generation, a_judged, an_answer, create

MODELS = ("openai/small", "openai/large", "local/unpriced")
JUDGE = "openai/judge"
FAULTS = ("failed attempt", "given up", "failed commit", "late answer", "refusal", "cut agent")
ROUTINE = ("answer", "answer", "answer", "batch", "question", "agent", "commit", "row")
NIGHTS = [(0, 3), *(pytest.param(seed, 6, marks=pytest.mark.slow) for seed in (0, 1, 2, 3, 5))]
"""Seeds and numbers of nights; with each, every fault occurs."""


@dataclass
class Provider:
    """A provider that keeps its own books of what it served.

    Attributes:
        served: Night, model, tokens and price of each answer.
    """

    rng: Random
    served: list[tuple[int, str, int, float | None]] = field(default_factory=list)

    def serve(self, night: int, model: str, *, is_kept: bool = True, **more: Any) -> Completion:
        """Return an answer; one that is lost before it can be kept anywhere is told apart by the one who loses it."""
        usd = None if model == MODELS[-1] else self.rng.randrange(1, 500) / 1000
        tokens_in, tokens_out = self.rng.randrange(1000), self.rng.randrange(100)
        if is_kept:
            self.served.append((night, model, tokens_in + tokens_out, usd))
        answer = Completion(0, 0, "", "text", model, tokens_in, tokens_out, usd, 1.0, "stop", NOW)
        return replace(answer, **more)

    def usd(self, night: int | None = None, model: str = "") -> float:
        return sum(usd or 0.0 for its, name, _, usd in self.served if night in (None, its) and model in ("", name))

    def tokens(self) -> int:
        return sum(tokens for _, _, tokens, _ in self.served)


@dataclass
class Accounts:
    """One run, the nights of which do what their seed says.

    Attributes:
        faults: Number of each fault so far.
        lost: Answers that were in flight when a night was killed, which no file can have.
    """

    files: RunFiles
    rng: Random
    provider: Provider
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[Completion] = field(default_factory=list)
    place: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))
    given_up: set[int] = field(default_factory=set)

    def play(self, night: int) -> None:
        """Run a night to its end, or kill it."""
        self.budget = Budget(before_usd=stored_run.read_spent_usd(self.files))
        assert self.budget.before_usd == pytest.approx(self.provider.usd())
        self.start = stored_run.read_run_history(self.files).start
        self.night, self.progress = night, Progress(best=-9.0, budget=self.budget)
        self.progress.begin_night(BudgetLimits(), night)
        self.stores = CompletionStores(self.files, self.progress, RequestLimits(self.files, self.progress.requests))
        self.generation = max(self.files.committed()) + 1
        while self.generation in self.given_up:
            self.generation += 1
        self.stores.open(self.generation)
        self.write_row()
        for _ in range(self.rng.randrange(8, 30)):
            self.step(self.rng.choice(FAULTS if self.rng.random() < 0.25 else ROUTINE))
        assert self.budget.night_usd == pytest.approx(self.provider.usd(night))
        if self.rng.random() < 0.6:
            self.kill()
        else:
            self.write_row(NOW + timedelta(hours=night, minutes=50))

    def write_row(self, ended_at: object = None) -> None:
        row = NightRecord(self.night, NOW + timedelta(hours=self.night), -9.0, -9.0, "", cost_usd=self.budget.night_usd)
        if ended_at:
            row = replace(row, ended_at=NOW + timedelta(hours=self.night, minutes=50), stop_reason=StopReason.DEADLINE)
        record.write_night(self.files, row)

    def kill(self) -> None:
        self.faults["kill"] += 1
        self.lost.append(self.provider.serve(self.night, MODELS[0], is_kept=False))
        if self.rng.random() < 0.5:  # in the middle of a line
            with self.files.journal(self.generation).open("ab") as journal:
                journal.write(b'{"prompt": 1, "cost_usd": 7')

    def step(self, what: str) -> None:
        self.faults[what] += what in FAULTS
        match what:
            case "answer":
                self.buy(self.rng.choice(MODELS))
            case "refusal":
                self.buy(MODELS[0], text="", error="refused: by the provider", finish_reason="refused")
            case "batch":
                paid = self.provider.serve(self.night, MODELS[1], **self.key())
                beside = replace(paid, sample=1, tokens_in=0, tokens_out=0, cost_usd=0.0)
                self.stores.of(self.generation).record([paid, beside])
            case "question":
                self.stores.keep_answer(
                    self.provider.serve(
                        self.night,
                        JUDGE,
                        prompt=-1,
                        prompt_hash=f"key {next(self.numbers)}",
                        text=an_answer().text,
                        finish_reason=QUESTION,
                    )
                )
            case "agent" | "cut agent":
                self.send_agent(is_cut=what == "cut agent")
            case "commit" | "late answer":
                store = self.stores.of(self.generation)
                self.commit()
                if what == "late answer":
                    store.record([self.provider.serve(self.night, MODELS[0], **self.key())])
            case "failed commit":
                self.stores.take_answers(self.generation)
                self.stores.open(self.generation)
            case "failed attempt" | "given up":
                self.fail(is_final=what == "given up")
            case _:
                self.write_row()

    def key(self) -> dict[str, Any]:
        number = next(self.numbers)
        return {"prompt": number, "prompt_hash": f"hash {number}"}

    def buy(self, model: str, **more: Any) -> None:
        self.stores.of(self.generation).record([self.provider.serve(self.night, model, **self.key(), **more)])

    def send_agent(self, *, is_cut: bool) -> None:
        key, store = self.key(), self.stores.of(self.generation)
        turns = [
            self.provider.serve(self.night, MODELS[1], **key, sample=1000 + number, finish_reason=TURN)
            for number in range(self.rng.randrange(1, 4))
        ]
        for turn in turns:
            store.record([turn])
        if not is_cut:
            spent = {
                "tokens_in": sum(one.tokens_in for one in turns),
                "cost_usd": sum(one.cost_usd or 0 for one in turns),
            }
            handed = replace(turns[0], sample=0, model="agent:toy", finish_reason="stop", transcript="{}", **spent)
            store.record([handed])

    def commit(self) -> None:
        """Commit most of the samples that are stored, as a retry may ask other prompts, and begin a new generation."""
        number = self.generation
        questions = self.stores.take_answers(number)
        samples = [one for one in self.stores.known(number).values() if one.is_sample and self.rng.random() < 0.8]
        judged = [self.judge(index, one) for index, one in enumerate(samples)]
        self.place += 1
        record.commit(
            self.files,
            a_generation(number, judged, self.start, night=self.night, place=self.place, questions=tuple(questions)),
        )
        self.stores.forget(number)
        self.given_up.discard(number)
        self.advance()

    def judge(self, index: int, completion: Completion) -> Judged:
        judged = a_judged(self.files.run_id, self.generation, index, scores=(-5.0, -5.0))
        return replace(judged, candidate=replace(judged.candidate, completion=completion))

    def fail(self, *, is_final: bool) -> None:
        attempt = self.files.failed_attempts(self.generation) + 1
        failure = a_generation(self.generation, [], self.start, night=self.night, attempt=attempt, error="it is away")
        record.record_failure(self.files, failure)
        if is_final:
            self.place += 1
            record.give_up(self.files, self.generation, self.place)
            self.given_up.add(self.generation)
            self.advance()

    def advance(self) -> None:
        """Go on with a generation that was given up, or with a new one."""
        retried = [number for number in self.given_up if number != self.generation and self.rng.random() < 0.2]
        ended = {*self.files.committed(), *self.given_up}
        self.generation = retried[0] if retried else next(n for n in range(10**6) if n not in ended)
        self.stores.open(self.generation)


def require_equal_books(run: Accounts) -> None:
    """Check that all that is told of costs is what the provider served, whatever was killed."""
    provider, database = run.provider, Database(run.files.directory.parents[1])
    nights = {night for night, *_ in provider.served}
    rows = database.rows("FROM nights")
    assert {row["night"]: row["cost_usd"] for row in rows if row["cost_usd"]} == pytest.approx(
        {night: usd for night in nights if night and (usd := provider.usd(night))}
    )
    unpriced = {night for night, *_, usd in provider.served if usd is None}
    assert {row["night"] for row in rows if row["has_unknown_costs"]} == unpriced
    (total,) = database.rows("SELECT cost_usd, has_unknown_costs FROM runs")
    assert total == {"cost_usd": pytest.approx(provider.usd()), "has_unknown_costs": bool(unpriced)}
    served: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for _, model, tokens, usd in provider.served:
        served[model][0] += usd or 0.0
        served[model][1] += tokens
    by_model = database.rows("SELECT model, cost_usd, tokens_in + tokens_out AS tokens FROM cost_by_model()")
    told = {row["model"]: [row["cost_usd"] or 0.0, row["tokens"]] for row in by_model if row["tokens"]}
    assert told == {model: [pytest.approx(usd), tokens] for model, (usd, tokens) in served.items()}
    generations, without_row = database.rows(
        "SELECT sum(cost_usd) AS usd, sum(tokens_in + tokens_out)::BIGINT AS tokens FROM generations UNION ALL "
        "SELECT coalesce(sum(cost_usd), 0), coalesce(sum(tokens_in + tokens_out), 0)::BIGINT "
        "FROM costs WHERE generation NOT IN (SELECT generation FROM generations)"
    )
    assert generations["usd"] + without_row["usd"] == pytest.approx(provider.usd())
    assert generations["tokens"] + without_row["tokens"] == provider.tokens()
    assert stored_run.read_spent_usd(run.files) == pytest.approx(provider.usd())


@pytest.mark.parametrize(("seed", "nights"), NIGHTS)
def test_all_that_is_told_of_costs_is_what_the_provider_served(seed: int, nights: int, tmp_path: Path):
    rng = Random(seed)
    run = Accounts(create(tmp_path), rng, Provider(rng))
    for night in range(1, nights + 1):
        run.play(night)
        require_equal_books(run)
    assert run.faults.total() >= 10 * nights // 3, run.faults
    assert run.faults.keys() >= {*FAULTS, "kill"}, run.faults
    assert len(run.lost) == run.faults["kill"], "only what was in flight then is in no file"
    report = build_report(Database(tmp_path), run.files)
    assert report.cost_usd == pytest.approx(run.provider.usd())
    assert sum(one.cost_usd for one in report.questions) == pytest.approx(run.provider.usd(model=JUDGE))
    assert sum(one.cost_usd or 0.0 for one in (*report.models, *report.questions)) == pytest.approx(report.cost_usd)
    assert build_report(Database(tmp_path), run.files, 1).cost_usd == pytest.approx(run.provider.usd(1))
