"""The number of samples in flight in a night: from the most that it can take, and from how long answers take."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from overnight.flows.formatting import count, duration
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.agent_settings import split_agent
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.program import NO_MODELS
from overnight.schemas.sampling_settings import ANSWER_ONCE, Model
from overnight.schemas.settings import Settings
from overnight.tasks.program.user_config import user_agent

if TYPE_CHECKING:
    from overnight.flows.night.open_run import OpenRun

_FEW_IN_FLIGHT = 8
_SMALL_SEARCH = 5_000
"""Most samples of a night that has few in flight, so that each prompt sees more results."""

_MANY_IN_FLIGHT = 16
"""Samples in flight in a night of more, or where nothing limits their number."""

_SLOW_IN_FLIGHT = 4
"""Samples in flight where answers take minutes, and of a command or a folder, whose answers may."""

_SLOW_S = 60.0
"""Median seconds of an answer in a generation from which on few samples are in flight of any model."""

_OTHER = "sampling.concurrency sets another number"

_SAMPLES_PER_SLOT = 2
"""Samples in flight for each slot of a cluster, so that none is idle while models answer."""


def samples_of_night(run: OpenRun, conditions: StopConditions, latency_s: float = 0.0) -> tuple[int, str]:
    """Return the number of samples in flight in a night, and why, in words.

    `latency_s` is how long an answer takes, where it is known from elsewhere than the nights before.
    """
    settings = run.run.problem.settings
    if settings.sampling.batch_api:
        return settings.search.prompts * settings.search.samples, "prompts are sent in batches"
    if given := settings.sampling.concurrency:
        return given, f"{given} samples in flight, as sampling.concurrency says"
    if before := _of_open_answers(run):  # with another number, prompts would be others
        return before, f"{before} samples in flight, as in the night before, whose answers are used"
    if run.cluster is not None:
        number = max(_SAMPLES_PER_SLOT * run.slots, samples_in_flight(None))  # machines may join later
        return number, f"{number} samples in flight, {_SAMPLES_PER_SLOT} for each slot of the cluster"
    most = most_samples(settings, conditions)
    if _is_answered_once(settings):
        number, why = sum(map(_at_once, settings.sampling.prompted)), "as an answer may take minutes"
    else:
        latency_s = latency_s or _latency_s(run)
        number = samples_in_flight(most, latency_s)
        why = "as nothing limits their number" if most is None else f"as the night takes at most {most:,}"
        why = f"as an answer took {duration(latency_s)} before" if latency_s >= _SLOW_S else why
    shown = number if most is None else min(number, most)  # the number itself is that of a night which goes on later
    return number, f"{shown} samples in flight, {why}; {_OTHER}"


def _of_open_answers(run: OpenRun) -> int | None:
    """Return the samples in flight of the night before if answers of models wait to be used, else `None`."""
    from overnight.tasks.history import journal, stored_run  # loading Arrow takes long, and `check` has no use for it

    stored = [one for path in stored_run.open_journals(run.files) for one in journal.readable_completions(path)]
    number = run.files.last_night() if any(one.is_sample and one.model not in NO_MODELS for one in stored) else 0
    if not number:
        return None
    rows = run.files.rows_of("generation", ["night", "samples_in_flight"])
    fewer = [row["samples_in_flight"] for row in rows if row["night"] == number and row["samples_in_flight"]]
    return min([stored_run.read_night(run.files, number, {}).samples_in_flight, *fewer])


def samples_if_slow(run: OpenRun) -> int | None:
    """Return how many samples are in flight in a night once answers take minutes; `None` where that changes nothing."""
    settings = run.run.problem.settings
    is_given = settings.sampling.batch_api or settings.sampling.concurrency or run.cluster is not None
    return None if is_given or _is_answered_once(settings) else _SLOW_IN_FLIGHT


def is_slow(generation: GenerationRecord) -> bool:
    """Return whether the answers of models to a generation took minutes."""
    return _median_latency_s(generation) >= _SLOW_S


def said_of(generation: GenerationRecord) -> str:
    """Return that fewer samples are in flight after a generation, in words; empty if that is not so."""
    few, latency_s = generation.samples_in_flight, _median_latency_s(generation)
    return f"{few} samples in flight from now on, as an answer took {duration(latency_s)}; {_OTHER}" if few else ""


def _median_latency_s(generation: GenerationRecord) -> float:
    completions = [one.candidate.completion for one in generation.judged]
    return _median_s((one.model, one.latency_s) for one in completions)


def _median_s(answers: Iterable[tuple[str, float]]) -> float:
    """Return the median seconds of the answers of models to prompts among some; 0 if there are none."""
    return median(
        [seconds for model, seconds in answers if model not in NO_MODELS and not split_agent(model)[0]] or [0.0]
    )


def _latency_s(run: OpenRun) -> float:
    """Return the median seconds of an answer of a model in the last generation; 0 if that has none."""
    from overnight.tasks.history.rows import read_rows

    number = run.state.generations
    if number == run.run.given or not run.state.has_ended(number):
        return 0.0
    rows = read_rows(run.files, "programs", number)
    return _median_s((row["model"], row["latency_s"] or 0.0) for row in rows)


def _is_answered_once(settings: Settings) -> bool:
    """Return whether agents, commands and folders alone answer, of which few samples are in flight anyway."""
    return all(model.name.startswith(ANSWER_ONCE) for model in settings.sampling.prompted)


def _at_once(model: Model) -> int:
    """Return how many samples an agent, a command or a folder has in flight: few, so that each sees those before it."""
    return user_agent(model.agent).at_once if model.agent else _SLOW_IN_FLIGHT


def sessions_beside(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Return the models of agents beside prompts, each with the number of sessions that may be under way."""
    return tuple((model.name, user_agent(model.agent).at_once) for model in settings.sampling.beside)


def said_of_sessions(sessions: Iterable[tuple[str, int]]) -> str:
    """Return how many sessions of agents are under way beside prompts, in words; empty without any."""
    return "".join(f"; beside them {count(most, 'session')} of {name} at a time" for name, most in sessions)


def most_samples(settings: Settings, conditions: StopConditions) -> int | None:
    """Return how many samples a night takes at most by its limits on samples and generations; `None` without these."""
    size = settings.search.prompts * settings.search.samples
    limits = [conditions.max_samples, conditions.generations and conditions.generations * size]
    return min((limit for limit in limits if limit is not None), default=None)


def samples_in_flight(most: int | None, latency_s: float = 0.0) -> int:
    """Return the number of samples in flight in a night that takes at most so many, of models that take so long."""
    if latency_s >= _SLOW_S:
        return _SLOW_IN_FLIGHT
    return _FEW_IN_FLIGHT if most is not None and most <= _SMALL_SEARCH else _MANY_IN_FLIGHT
