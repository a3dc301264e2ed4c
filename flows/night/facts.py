"""Facts of a night: one record of it, and one list of facts, from which all that show a night choose.

The summary in the terminal, notifications, Prefect's report, the log's last line and the last line of JSON are made of
`facts_of`; the panel adds what is only true for a moment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from overnight.flows.formatting import cost, count, duration, outcomes_text, printable, score, usd
from overnight.flows.night.progress import Progress
from overnight.flows.night.search_state import SearchState
from overnight.schemas.generation import GenerationRecord, NightRecord, RunRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Program
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.report.refusal import refusal
from overnight.tasks.sample.budget import Budget
from overnight.tasks.select.front import nondominated
from overnight.tasks.tune.pruning import lengths


@dataclass(frozen=True)
class LogLine:
    """One line about a night, and when it was written."""

    at: datetime
    text: str


@dataclass(frozen=True)
class ShownNight:
    """A night at one moment. Texts come from models and programs, and are not escaped.

    Attributes:
        run: Its run.
        state: Its committed state.
        progress: Counters of the night.
        record: Its row in the history.
        flag: `--history` flag of commands that are shown; empty for the default history.
        share: Share of the night that is over by the stop condition nearest to its limit, 0 to 1.
        pictures: Sanitised SVG pictures of programs, by program id, once the night is over.
        log: Lines of the night's log, in the order of time; the last ones of a long night.
    """

    run: RunRecord
    state: SearchState
    progress: Progress
    record: NightRecord
    flag: str = ""
    share: float = 0.0
    pictures: Mapping[str, str] = field(default_factory=dict)
    log: Sequence[LogLine] = ()

    @property
    def title(self) -> str:
        return self.run.problem.settings.title or self.run.problem.name

    @property
    def start(self) -> Program:
        return self.state.start

    @property
    def best(self) -> Program:
        """Its best program; after the final evaluation the one that this chose, as `overnight best` does."""
        if self.record.finalists:
            return self.state.programs[self.record.best_program_id]
        return self.state.best

    def text_of(self, program: Program) -> str:
        """Return the evolved part of a program."""
        return self.run.problem.specification.function_text(program.body)


@dataclass(frozen=True)
class Fact:
    """A fact of a night.

    Attributes:
        name: Its key in lines of JSON; empty if it is for people alone.
        value: Its value, as plain data for programs.
        text: The value in words, with its unit; empty if there is nothing to say.
        is_count: Whether its text is one of those in the first line of a summary, and not a line of its own.
        is_in_table: Whether the table of scores has it, too.
    """

    name: str
    value: Any
    text: str = ""
    is_count: bool = False
    is_in_table: bool = False


def facts_of(night: ShownNight) -> list[Fact]:
    """Return the facts of a night: what it did, then what is to be said of it. A new fact is a row here."""
    record, budget, failed = night.record, night.progress.budget, sorted(night.state.failed)
    seconds = (record.ended_at - record.started_at).total_seconds() if record.ended_at else None
    return [
        Fact("night", record.number),
        Fact("stop_reason", record.stop_reason.value if record.stop_reason else None),
        Fact("generations", record.generations, count(record.generations, "generation"), is_count=True),
        Fact("samples", record.samples, count(record.samples, "sample"), is_count=True),
        Fact("cost_usd", budget.night_usd, spent(budget), is_count=True),
        Fact("tokens", budget.tokens),
        Fact("has_unknown_costs", budget.has_unknown_costs),
        Fact("seconds", seconds, "unfinished" if seconds is None else duration(seconds), is_count=True),
        Fact("best_score", record.best_after, _best_text(night), is_in_table=True),
        Fact("best_program_id", night.best.id),
        Fact("", None, _other_inputs_text(night), is_in_table=True),
        Fact("", None, _pruned_text(night)),
        Fact("", None, _refused_text(record)),
        Fact("", None, _objectives_text(night)),
        Fact("", None, _passed_text(night)),
        Fact("", None, _fails_text(record)),
        Fact("", None, _no_gain_text(night)),
        Fact("warning", record.warning, f"warning: {record.warning}" if record.warning else ""),
        Fact("paused_s", record.paused_s, _paused_text(record)),
        Fact("failed_generations", failed, _failed_text(failed)),
    ]


def counts(night: ShownNight) -> str:
    """Return what a night did, in one line."""
    return ", ".join(fact.text for fact in facts_of(night) if fact.is_count)


def ending(night: ShownNight) -> str:
    """Return why a night ended."""
    record = night.record
    reason = record.stop_reason.value if record.stop_reason else "nothing yet"
    return f"stopped by: {reason}{f': {printable(record.error)}' if record.error else ''}"


def first_line(night: ShownNight) -> str:
    """Return what a night did and why it ended, in one line."""
    return f"night {night.record.number}: {counts(night)}; {ending(night)}"


def remarks(night: ShownNight, *, beside_table: bool = False) -> list[str]:
    """Return what else is to be said of a night, one line for each; less beside the table of scores."""
    facts = [fact for fact in facts_of(night) if fact.text and not fact.is_count]
    return [fact.text for fact in facts if not (beside_table and fact.is_in_table)]


def commands(night: ShownNight) -> dict[str, str]:
    """Return the commands to continue with, by what they do; none goes on where nothing is left to search for."""
    run_id, flag = night.run.run_id, night.flag
    found = {"report": f"overnight report {run_id}{flag}"}
    if not night.run.problem.settings.is_won_by(night.record.best_after):
        found |= {"continue": f"overnight resume {run_id}{flag}"}
    return found | ({"retry": f"overnight retry {run_id}{flag}"} if night.state.failed else {})


def score_rows(night: ShownNight) -> list[dict[str, str]]:
    """Return the table of scores on each split: start program, best program and known results."""
    rows = [_scores_of("start program", night.start, night), _scores_of("best program", night.best, night)]
    known, digits = night.run.problem.settings.known, _digits(night)
    if known.honesty is not None:
        held_out = "" if known.honesty_held_out is None else score(known.honesty_held_out, digits)
        rows.append(_score_row("without a model", score(known.honesty, digits), "", held_out, known.honesty_label))
    if known.best is not None:
        column = {"validation": 1, "held_out": 2}.get(known.split, 0)
        cells = [score(known.best, digits) if place == column else "" for place in range(3)]
        rows.append(_score_row(known.best_name, *cells, known.best_source))
    return rows


def _scores_of(label: str, program: Program, night: ShownNight) -> dict[str, str]:
    record = night.record
    finalist = next((one for one in record.finalists if one.program.id == program.id), None)
    failed = record.winner_fails_on if program.id == record.best_program_id else ()
    others = {"validation": finalist and finalist.validation, "held-out": finalist and finalist.held_out}
    digits = _digits(night)
    cells = ["fails" if name in failed else score(value, digits) for name, value in others.items()]
    return _score_row(label, score(program.score, digits), *cells, program.id)


def _digits(night: ShownNight) -> int:
    """Return as many digits as tell the scores of a night's best programs from the known ones."""
    finalists = night.record.finalists
    others = [value for one in finalists for value in (one.validation, one.held_out)]
    return night.run.problem.settings.known.digits_beside(night.record.best_after, night.best.score, *others)


def _score_row(*cells: str) -> dict[str, str]:
    return dict(zip(("", "train", "validation", "held-out", "program or source"), cells, strict=True))


def _best_text(night: ShownNight) -> str:
    record = night.record
    gain = record.best_after - record.best_before
    than_before = f"{score(gain)} more than" if gain > 0 else "not better than"
    best = score(record.best_after, _digits(night))
    return f"best score {best}: {than_before} before this night; the start program has {score(night.start.score)}"


def _other_inputs_text(night: ShownNight) -> str:
    """Return the winner's scores on inputs that the search has not seen; empty without any."""
    record = night.record
    winner = next((one for one in record.finalists if one.program.id == record.best_program_id), None)
    if winner is None:
        return ""
    splits = [("validation", winner.validation), ("held-out", winner.held_out)]
    scores = [f"{name} {score(value)}" for name, value in splits if value is not None]
    return f"the best program on other inputs: {', '.join(scores)}" if scores else ""


def _objectives_text(night: ShownNight) -> str:
    """Return the best program's other objectives, and the size of the front; empty if the score is the only one."""
    objectives, best = night.run.problem.settings.objectives, night.best
    if not objectives.metrics or not best.is_scored:
        return ""
    scored = [program for program in night.state.programs.values() if program.is_scored]
    front = sum(nondominated([objectives.goals(program.score, program.metrics) for program in scored]))
    own = ", ".join(f"{name} {score(best.metrics[name])}" for name in objectives.metrics)
    of_front = f"overnight sql \"FROM front WHERE run_id = '{night.run.run_id}'\"{night.flag}"
    return f"the best program has {own}; {count(front, 'program')} that none beats in everything: {of_front}"


def _pruned_text(night: ShownNight) -> str:
    said = left_out_text(night.best, night.state.programs, night.run.problem.specification, night.flag)
    return f"{said}, `overnight best {night.run.run_id} --as-found{night.flag}` the program before" if said else ""


def _refused_text(record: NightRecord) -> str:
    """Return why the best program stays as it was found, if what was left of it is worse on the held-out inputs."""
    best = next((one for one in record.finalists if one.program.id == record.best_program_id), None)
    of_best = (one for one in record.finalists if best and one.program.pruned_from == best.program.id)
    if best is None or (pruned := next(of_best, None)) is None or not (how := refusal(pruned, best)):
        return ""
    return f"{best.program.id} stays the best as it was found: what is left of it {how}"


def left_out_text(program: Program, programs: Mapping[str, Program], skeleton: Skeleton, flag: str = "") -> str:
    """Return of what a program is left, both lengths, and what shows the difference; empty if nothing was left out."""
    if (original := programs.get(program.pruned_from)) is None:
        return ""
    said = lengths(skeleton, original.body, program.body)
    shows = f"`overnight show {program.id} --diff{flag}` shows what"
    return f"what no score needs was left out of {original.id}: {said}; {shows}"


def _passed_text(night: ShownNight) -> str:
    passed = night.run.problem.passed_known(night.best.score)
    return f"the best program is {passed}" if passed else ""


def _fails_text(record: NightRecord) -> str:
    failed = record.winner_fails_on
    return f"the best program fails on the {' and '.join(failed)} inputs and has no score there" if failed else ""


def _no_gain_text(night: ShownNight) -> str:
    if not night.best.is_scored:
        return f"nothing has a score yet; why: overnight sql \"FROM failures('{night.run.run_id}')\"{night.flag}"
    return "no program is better than the start program yet" if night.best.id == night.start.id else ""


def _paused_text(record: NightRecord) -> str:
    """Return how long a night was paused, and by what; with several causes, for how long by each."""
    if not record.pauses:
        return ""
    first, *others = [(printable(one.cause), duration(one.seconds)) for one in record.pauses]
    causes = "; ".join(f"{cause} ({taken})" for cause, taken in [first, *others]) if others else first[0]
    return f"paused for {duration(record.paused_s)}: {causes}"


def _failed_text(failed: Sequence[int]) -> str:
    numbers = ", ".join(map(str, failed))
    return f"given up: generation{'s' * (len(failed) > 1)} {numbers}" if failed else ""


def spent(budget: Budget) -> str:
    """Return spending like `$1.20 of $5.00, 81,000 tokens`; unpriced tokens are named, not counted as free."""
    limits, wider = budget.limits, list[str]()
    if budget.before_usd or limits.total_usd is not None:
        of_total = f" of {usd(limits.total_usd)}" if limits.total_usd is not None else ""
        wider.append(f"{usd(budget.total_usd)}{of_total} with earlier nights")
    for period, of_period in budget.period_usd.items():
        wider.append(f"{usd(of_period)} of {usd(limits.period_usd[period])} with all nights of the {period}")
    total = f" ({', '.join(wider)})" if wider else ""
    of_usd = f" of {usd(limits.night_usd)}" if limits.night_usd is not None else ""
    of_tokens = f" of {limits.tokens:,}" if limits.tokens is not None else ""
    cached = f" ({budget.tokens_cached:,} from a cache)" if budget.tokens_cached else ""
    if budget.has_unknown_costs and not budget.night_usd:
        return f"price unknown{total}, {budget.tokens:,}{of_tokens} tokens{cached}"
    unpriced = " and tokens without a known price" if budget.has_unknown_costs else ""
    return f"{usd(budget.night_usd)}{unpriced}{of_usd}{total}, {budget.tokens:,}{of_tokens} tokens{cached}"


def generation_line(number: int, progress: Progress) -> str:
    """Return one line about a generation that was committed last."""
    is_new = " (new)" if progress.best_at == number else ""
    budget = progress.budget
    so_far = cost(budget.night_usd, is_partly_unknown=budget.has_unknown_costs)
    return (
        f"generation {number}: best {score(progress.best)}{is_new}; {outcomes_text(progress.last_outcomes)}; "
        f"cost so far {so_far}, {budget.tokens:,} tokens"
    )


def without_any_score(generation: GenerationRecord) -> str:
    """Return the most common failure of a generation after which no program of the run has a score; else empty."""
    if generation.best.is_scored or not generation.judged:
        return ""
    verdicts = [one.verdict for one in generation.judged]
    own = [one for one in verdicts if one.outcome is not Outcome.DUPLICATE]
    failures = [(one.outcome.value, one.error.partition("\n")[0]) for one in own]
    kinds = [(outcome, re.sub(r"\d+", "#", error)) for outcome, error in failures]
    if not kinds:
        return "nothing has a score yet"
    (kind, times), *_ = Counter(kinds).most_common(1)
    outcome, error = failures[kinds.index(kind)]
    return f"nothing has a score yet; {times} of {len(verdicts)} samples are {outcome}: {printable(error)}".rstrip(": ")
