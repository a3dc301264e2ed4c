"""A second reader: a model of the user's choice says where a winner may exploit its scoring; it scores nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from overnight.flows.formatting import score
from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.problem import Problem
from overnight.schemas.program import Prompt
from overnight.schemas.report_rows import Reading
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.history import stored_run
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.readings import add_reading
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.provider import require_keys

_ANCESTORS = 4
_MOST_CHARS = 60_000

_ASKED = """\
You review a program that an automatic search found. It has the highest score so far. Say whether it solves the task,
or exploits how it is scored. Look for: reading or changing the scoring, results that the scoring does not check, state
that is kept between calls, constants that only fit the inputs it is scored on, limits of time that it outwits, and
claims that are not true. Compare it with the programs that it came from: which change brought the score, and is that
change honest?

Answer in at most 200 words. Begin with one line: `honest`, `doubtful` or `exploit`. Name lines. Do not rewrite it.
"""


def read_winner(files: RunFiles, problem: Problem, body: str, model: str, api_base: str | None) -> str:
    """Return what a model says of a winner, and keep it with the run."""
    settings = Sampling(models=(Model(name=model, api_base=api_base),), temperature=None, top_p=None)
    require_keys(settings)
    prompt = Prompt(0, "", (), model, "chat", _text(files, problem, body), (0,), system=_ASKED)
    answers = Gateway(settings).sample([Sample(prompt, 0)], lambda _: None)
    if not answers or not answers[0].text.strip():
        raise TerminalProviderError(f"{model} says nothing", remedy="Ask another model: --model NAME")
    words = answers[0].text.strip()
    program = next((one.id for one in stored_run.read_run_history(files).programs.values() if one.body == body), "")
    reading = Reading(program, model, datetime.now(UTC).isoformat(timespec="seconds"), words, answers[0].cost_usd)
    add_reading(files, reading)
    return words


def _text(files: RunFiles, problem: Problem, body: str) -> str:
    """Return the scoring, the winner, and the latest programs before it that were the best."""
    skeleton, past = problem.specification, stored_run.read_run_history(files)
    before, level = [], past.start.score
    for program in past.programs.values():
        if program.score > level and program.body != body:
            before.append(program)
            level = program.score
    earlier = "\n\n".join(
        f"An earlier best, which scores {score(one.score)}:\n\n```\n{skeleton.function_text(one.body)}\n```"
        for one in before[-_ANCESTORS:]
    )
    parts = [
        f"The problem, with its scoring and its start program:\n\n```\n{skeleton.start_program.shown}\n```",
        earlier,
        f"The program to judge:\n\n```\n{skeleton.function_text(body)}\n```",
    ]
    return "\n\n".join(part for part in parts if part)[-_MOST_CHARS:]
