"""How a persona changes a program: the kind of edit, whether it improves, and what it copies from others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from tests.bench.simulated.cues import Cue
from tests.bench.simulated.landscape import Design, Landscape
from tests.bench.simulated.personas import CONSTANTS, ONE_FRAGMENT, TWO_FRAGMENTS, Persona
from tests.bench.simulated.reading import Reading, Shown

_TRIES = {"constants": 12, "one fragment": 90, "two fragments": 60, "another algorithm": 20}
"""How many edits of a kind are thought of in order to find one that improves, or does not."""

_STEP = 0.15
"""Standard deviation of a constant's change, decades."""

_NEARER = 0.7
"""Weight of a program shown beside the base, for each program between it and the base."""


def edited(base: Shown, reading: Reading, persona: Persona, rng: Random) -> tuple[Design, str]:
    """Return a changed design and the idea behind it, which names what the edit does."""
    problem = reading.problem
    kind = _kind(base.design, reading, persona, rng)
    score = problem.landscape.score(base.design)
    improve = rng.random() < persona.improves(problem.gap(score), base.design)
    design, fitting = base.design, list[Design]()
    for design in itertools.islice(_proposals(kind, base.design, problem.landscape, rng), _TRIES[kind]):
        if not _conflicts(design, reading) and (problem.landscape.score(design) > score) == improve:
            fitting.append(design)
            if len(fitting) == (persona.looks if improve else 1):
                break
    design = max(fitting, key=problem.landscape.score, default=design)
    return design, _idea(kind, base.design, design, problem.landscape)


def with_copies(design: Design, base: Shown, reading: Reading, persona: Persona, rng: Random) -> Design:
    """Return a design with fragments and constants copied from the programs beside the base; the last weighs most.

    What such a program has in common with the base is no news: it does not undo the edit.
    """
    copied = design
    for place, other in enumerate(reversed(reading.beside)):
        share = _copied_share(other, base, reading, persona) * _NEARER**place
        choices = [
            theirs if theirs not in (mine, old) and theirs >= 0 and rng.random() < share else mine
            for mine, theirs, old in zip(copied.choices, other.design.choices, base.design.choices, strict=True)
        ]
        numbers = [
            theirs if theirs not in (mine, old) and rng.random() < share else mine
            for mine, theirs, old in zip(copied.numbers, other.design.numbers, base.design.numbers, strict=True)
        ]
        copied = Design(tuple(choices), tuple(numbers))
    return design if _conflicts(copied, reading) else copied


def random_design(landscape: Landscape, rng: Random) -> Design:
    """Return a design that builds on nothing."""
    numbers = tuple(float(f"{10 ** rng.uniform(-1.5, 1.5):.3g}") for _ in landscape.targets)
    return Design(tuple(rng.randrange(len(names)) for names in landscape.options), numbers)


def _copied_share(other: Shown, base: Shown, reading: Reading, persona: Persona) -> float:
    """Return the probability of a copy: twice that of a program whose score is told and higher, or to cross."""
    share = persona.copies
    if other.score is not None and base.score is not None and other.score > base.score:
        share *= 2
    return min(1.0, share * 2 if Cue.CROSS in reading.cues else share)


def _kind(design: Design, reading: Reading, persona: Persona, rng: Random) -> str:
    asked = 5 if Cue.ANOTHER in reading.cues else 1
    weights = (CONSTANTS if design.numbers else 0.0, ONE_FRAGMENT, TWO_FRAGMENTS, persona.jumps * asked)
    return rng.choices(list(_TRIES), weights)[0]


def _proposals(kind: str, design: Design, landscape: Landscape, rng: Random) -> Iterator[Design]:
    """Yield edits of a kind, each another one as far as there are any."""
    if kind == "one fragment":
        singles = [
            _with_choice(design, stage, choice)
            for stage, names in enumerate(landscape.options)
            for choice in range(len(names))
            if choice != design.choices[stage]
        ]
        yield from rng.sample(singles, len(singles))
        return
    while True:
        if kind == "constants":
            yield _with_numbers(design, rng)
        elif kind == "two fragments":
            yield _with_random_choices(design, rng.sample(range(len(design.choices)), 2), landscape, rng)
        else:
            yield _jump(design, landscape, rng)


def _jump(design: Design, landscape: Landscape, rng: Random) -> Design:
    """Return a design with another algorithm where the problem has some, else with a third of its stages changed."""
    stages = range(len(design.choices))
    changed = [0] if landscape.keys else rng.sample(stages, len(stages) // 3)
    return _with_random_choices(design, changed, landscape, rng)


def _with_numbers(design: Design, rng: Random) -> Design:
    changed = rng.sample(range(len(design.numbers)), rng.choice((1, 1, 2)))
    return design._replace(
        numbers=tuple(
            float(f"{number * 10 ** rng.gauss(0.0, _STEP):.4g}") if k in changed else number
            for k, number in enumerate(design.numbers)
        )
    )


def _with_random_choices(design: Design, stages: list[int], landscape: Landscape, rng: Random) -> Design:
    for stage in stages:
        others = [choice for choice in range(len(landscape.options[stage])) if choice != design.choices[stage]]
        design = _with_choice(design, stage, rng.choice(others))
    return design


def _with_choice(design: Design, stage: int, choice: int) -> Design:
    return design._replace(choices=(*design.choices[:stage], choice, *design.choices[stage + 1 :]))


def _conflicts(design: Design, reading: Reading) -> bool:
    """Return whether a design has two fragments that a shown error says do not work together."""
    names = [
        options[choice] if choice >= 0 else ""
        for options, choice in zip(reading.problem.landscape.options, design.choices, strict=True)
    ]
    return any(names[first] == one and names[second] == other for first, one, second, other in reading.conflicts)


def _idea(kind: str, old: Design, new: Design, landscape: Landscape) -> str:
    stages = [
        f"{landscape.options[stage][choice]} in stage {stage + 1}"
        for stage, choice in enumerate(new.choices)
        if choice != old.choices[stage]
    ]
    numbers = [
        f"{'larger' if number > old.numbers[k] else 'smaller'} number {k + 1}"
        for k, number in enumerate(new.numbers)
        if number != old.numbers[k]
    ]
    return f"{kind}: {', '.join(stages + numbers)}"
