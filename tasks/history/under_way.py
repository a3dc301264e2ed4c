"""State of a run beyond its commits: the answers of generations under way, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from overnight.schemas.ids import program_id
from overnight.schemas.outcome import StoredVerdict, Verdict
from overnight.schemas.report_data import Claim, UnderWay
from overnight.schemas.scores import with_score
from overnight.schemas.settings import Settings
from overnight.tasks.history import stored_run
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.journal import readable_completions, readable_verdicts


def read_under_way(files: RunFiles, best: float | None) -> UnderWay:
    """Return what is answered and waits to be committed; `best` is the score of the best program."""
    journals = stored_run.open_journals(files)
    samples = sum(one.is_sample for path in journals for one in readable_completions(path))
    if not samples:
        return UnderWay()
    settings = stored_run.read_run(files).problem.settings
    is_won = settings.is_won_by(best)
    judged = {int(path.stem): found for path in journals if (found := _counting(files, path))}
    if not judged:
        return UnderWay(samples, is_left_out=is_won)
    claims = [
        Claim(score, number, index + 1, program_id(files.run_id, number, index))
        for number, found in judged.items()
        for index, score in _scores(found, settings).items()
    ]
    better = [claim for claim in claims if best is None or claim.score > best]
    return UnderWay(samples, len(claims), max(better, key=lambda claim: claim.score, default=None), is_won)


def _counting(files: RunFiles, journal: Path) -> list[StoredVerdict]:
    """Return the verdicts that were made last: those under other limits do not count, nor those of another place."""
    found = readable_verdicts(journal) if files.verdict_key.exists() else []
    return [one for one in found if one.under == found[-1].under]


def _scores(found: list[StoredVerdict], settings: Settings) -> Mapping[int, float]:
    """Return the scores of a generation's candidates by index, without those that a confirmation refused."""
    refused = {one.code_hash for one in found if one.confirms and not one.verdict.is_scored}
    stands = [(one.candidate, one.verdict) for one in found if not one.confirms and one.code_hash not in refused]
    scores = {index: _score(verdict, settings) for index, verdict in stands}
    return {index: score for index, score in scores.items() if score is not None}


def _score(verdict: Verdict, settings: Settings) -> float | None:
    return with_score(verdict, settings.reducer, settings.objectives)[1]
