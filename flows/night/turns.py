"""How many prompts a generation has, how many are in flight, and which results the plan of one waits for."""

from __future__ import annotations

from overnight.schemas.generation import RunRecord

_PROMPTS_PER_TASK = 4
"""Prompts that one sample task asks for, unless the settings say otherwise or many samples are in flight."""


def turns_of(run: RunRecord) -> int:
    """Return the number of turns of a generation: its prompts, and a last one for the tuner of numbers, if it has one.

    The tuner's turn may pass without a prompt.
    """
    return run.problem.settings.search.prompts + run.problem.tunes


def pruning_index(run: RunRecord) -> int:
    """Return the index of the prompt that stands for pruning a night's best program, beyond all that are asked.

    The one before it is that of the corrections at the end of a generation.
    """
    return turns_of(run) + 1


def results_needed(serial: int, run: RunRecord, window: int) -> int:
    """Return the number of prompts whose results the algorithm is told of before the one of a serial number is planned.

    With a window of W prompts, that is all but the last W before it. With batch jobs of G generations, it is all
    before the group of G.
    """
    sampling = run.problem.settings.sampling
    if sampling.batch_api:
        size = sampling.batch_generations * turns_of(run)
        return serial // size * size
    return max(0, serial + 1 - window)


def prompts_in_flight(run: RunRecord, samples: int) -> int:
    """Return the window in prompts for a number of samples in flight."""
    return max(1, samples // run.problem.settings.search.samples)


def prompts_per_task(run: RunRecord, window: int) -> int:
    """Return the number of prompts that one sample task asks for, with a window of so many prompts.

    It is a quarter of the window at most, since a task begins when all of its prompts are planned. In a wide window,
    such as that of a cluster, tasks are larger by default: each costs Prefect some 20 ms.
    """
    sampling = run.problem.settings.sampling
    if sampling.batch_api:
        return sampling.batch or _PROMPTS_PER_TASK
    return min(sampling.batch or max(_PROMPTS_PER_TASK, window // 8), max(1, window // 4))
