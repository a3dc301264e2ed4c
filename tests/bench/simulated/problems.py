"""Problems of four families with known optima, as programs with marks and as task directories of OpenEvolve.

F1 is a pipeline of twelve stages that depend on each other, F2 the same with six constants, F3 one where the best of
five algorithms starts lowest, F4 one where some fragments do not work together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from overnight.tasks.program.marked_file import MarkedFile, read_marked
from tests.bench.simulated import landscape as landscapes
from tests.bench.simulated.designs import write_block
from tests.bench.simulated.landscape import FRAGMENTS, Design, Landscape

STAGES, OPTIONS, CONSTANTS, PAIRS = 12, 8, 6, 150
"""Stages of a pipeline, fragments of each, constants of F2, forbidden pairs of F4."""

MAX_TOKENS = 16_384
"""Limit of answers in the task directories, which leaves personas room to reason."""

STATEMENT = "Improve the stages of a pipeline over lists of numbers; what they do with some values is scored."

_HEAD = '"""{statement}\n\nSimulated problem {name} of seed {seed}.\n"""\n\n# EVOLVE-BLOCK-START\n'
_TAIL = "# EVOLVE-BLOCK-END\n\n\ndef run(v):\n    for stage in ({stages}):\n        v = stage(v)\n    return v\n"

_EVALUATOR = """

LANDSCAPE = Landscape(**{landscape!r})


def evaluate(program_path):
    with open(program_path) as file:
        source = file.read()
    namespace = {{"__name__": "program"}}
    exec(compile(source, program_path, "exec"), namespace)
    score = LANDSCAPE.judge(namespace)
    return {{"combined_score": score, "score": score}}
"""


@dataclass(frozen=True)
class SimulatedProblem:
    """A problem.

    Attributes:
        name: Family and variant, such as `F1-k3`.
        seed: Seed that it was drawn from.
        start: Design of the start program.
        best: A design that nothing scores more than.
    """

    name: str
    seed: int
    landscape: Landscape
    start: Design
    best: Design

    @property
    def optimum(self) -> float:
        """The best score there is."""
        return self.landscape.score(self.best)

    @property
    def start_score(self) -> float:
        return self.landscape.score(self.start)

    def gap(self, score: float) -> float:
        """Return the distance to the optimum, in units of that of the start program."""
        return (self.optimum - score) / (self.optimum - self.start_score)

    def source(self, design: Design) -> str:
        """Return a whole program."""
        head = _HEAD.format(statement=STATEMENT, name=self.name, seed=self.seed)
        stages = ", ".join(f"stage_{k + 1:02}" for k in range(len(self.landscape.options)))
        return head + write_block(self.landscape, design) + _TAIL.format(stages=stages)

    @property
    def file(self) -> MarkedFile:
        """The start program, with the marks of what evolves."""
        return read_marked(self.source(self.start), "initial_program.py")

    def evaluate(self, source: str) -> float:
        """Run a program and return its score; raises whatever the program raises."""
        namespace: dict[str, object] = {"__name__": "program"}
        exec(compile(source, "program.py", "exec"), namespace)
        return self.landscape.judge(namespace)

    def write(self, directory: Path) -> Path:
        """Write it as a task directory of OpenEvolve, which Overnight runs, too; return the directory."""
        directory.mkdir(parents=True, exist_ok=True)
        config = {
            "prompt": {"system_message": STATEMENT},
            "llm": {"max_tokens": MAX_TOKENS},
            "evaluator": {"cascade_evaluation": False, "timeout": 20},
        }
        evaluator = Path(landscapes.__file__).read_text() + _EVALUATOR.format(landscape=self.landscape._asdict())
        files = {"initial_program.py": self.source(self.start), "evaluator.py": evaluator}
        for name, text in {**files, "config.yaml": json.dumps(config, indent=1)}.items():
            (directory / name).write_text(text)
        return directory


@cache
def problem_named(name: str, seed: int = 0) -> SimulatedProblem:
    """Return the problem of a name and a seed.

    Raises:
        KeyError: If there is no such name.
    """
    make, parameter = _MAKERS[name]
    return make(name, seed, parameter)


def names_of(wanted: str = "") -> tuple[str, ...]:
    """Return the names of problems: those of families or of single ones, separated by commas; all by default."""
    parts = [part for part in wanted.split(",") if part]
    unknown = [part for part in parts if part not in _MAKERS and part not in {name[:2] for name in _MAKERS}]
    if unknown:
        raise ValueError(f"expected families or problems of {', '.join(_MAKERS)}; got {', '.join(unknown)}")
    return tuple(name for name in _MAKERS if not parts or name in parts or name[:2] in parts)


def _pipeline(name: str, seed: int, epistasis: int) -> SimulatedProblem:
    rng = Random(f"{name}/{seed}")
    landscape = _scaled(Landscape(rng.getrandbits(60), _options(rng), epistasis), rng)
    return SimulatedProblem(name, seed, landscape, _poor(landscape, rng), best_of_pipeline(landscape))


def _constants(name: str, seed: int, decades: int) -> SimulatedProblem:
    rng = Random(f"{name}/{seed}")
    targets = tuple(float(f"{10 ** rng.uniform(-1.5, 1.5):.3g}") for _ in range(CONSTANTS))
    landscape = Landscape(rng.getrandbits(60), _options(rng), 1, targets, _axes(rng, 10.0**decades))
    landscape = _scaled(landscape, rng)
    wrong = tuple(float(f"{target * 10 ** rng.choice((-0.6, 0.6)):.3g}") for target in targets)
    best = best_of_pipeline(landscape)._replace(numbers=targets)
    return SimulatedProblem(name, seed, landscape, _poor(landscape, rng)._replace(numbers=wrong), best)


def _algorithms(name: str, seed: int, _: int) -> SimulatedProblem:
    rng = Random(f"{name}/{seed}")
    options = _options(rng, 9)
    options = (options[0][:5], *options[1:])
    keys = tuple(rng.randrange(OPTIONS) for _ in range(2))
    landscape = _scaled(Landscape(rng.getrandbits(60), options, keys=keys), rng)
    parts = [_place_of_best(landscape.worths(4, stage)) for stage in range(6)]
    poor = _poor(landscape, rng)
    start = poor._replace(choices=(0, *poor.choices[1:]))
    return SimulatedProblem(name, seed, landscape, start, Design((4, *parts, *keys)))


def _constraints(name: str, seed: int, epistasis: int) -> SimulatedProblem:
    rng = Random(f"{name}/{seed}")
    landscape = _scaled(Landscape(rng.getrandbits(60), _options(rng), epistasis), rng)
    best, start = best_of_pipeline(landscape), _poor(landscape, rng)
    allowed = [{design.choices[stage] for design in (best, start)} for stage in range(STAGES)]
    pairs = set()
    while len(pairs) < PAIRS:
        first, second = sorted(rng.sample(range(STAGES), 2))
        one, other = rng.randrange(OPTIONS), rng.randrange(OPTIONS)
        if one not in allowed[first] or other not in allowed[second]:
            pairs.add((first, one, second, other))
    return SimulatedProblem(name, seed, landscape._replace(pairs=tuple(sorted(pairs))), start, best)


_Maker = Callable[[str, int, int], SimulatedProblem]
_MAKERS: dict[str, tuple[_Maker, int]] = {
    **{f"F1-k{k}": (_pipeline, k) for k in (1, 3, 6)},
    **{f"F2-c{c}": (_constants, c) for c in (2, 3, 4)},
    **{f"F3-{letter}": (_algorithms, 0) for letter in "abc"},
    **{f"F4-k{k}": (_constraints, k) for k in (1, 2, 3)},
}
"""How each problem is made: K for F1 and F4, the decades of the condition number for F2."""


def _options(rng: Random, stages: int = STAGES) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(rng.sample(sorted(FRAGMENTS), OPTIONS)) for _ in range(stages))


def _scaled(landscape: Landscape, rng: Random) -> Landscape:
    return landscape._replace(scale=rng.choice((1.0, 10.0, 100.0)), offset=round(rng.uniform(-50.0, 50.0), 2))


def _poor(landscape: Landscape, rng: Random) -> Design:
    """Return the worst of twenty random designs."""
    designs = [Design(tuple(rng.randrange(len(names)) for names in landscape.options)) for _ in range(20)]
    flat = landscape._replace(targets=(), axes=())
    return min(designs, key=flat.score)


def _axes(rng: Random, condition: float) -> tuple[tuple[float, ...], ...]:
    """Return the rows of a matrix whose square has this condition number, turned at random."""
    turned, _ = np.linalg.qr(np.array([[rng.gauss(0.0, 1.0) for _ in range(CONSTANTS)] for _ in range(CONSTANTS)]))
    lengths = [math.sqrt(condition ** (k / (CONSTANTS - 1) - 1.0) * 4.0) for k in range(CONSTANTS)]
    return tuple(tuple(float(length * x) for x in row) for length, row in zip(lengths, turned, strict=True))


def _place_of_best(worths: list[float]) -> int:
    return worths.index(max(worths))


def best_of_pipeline(landscape: Landscape) -> Design:
    """Return the choices with the highest mean contribution, by dynamic programming over the last stages."""
    depth, best, steps = landscape.epistasis, np.zeros(()), []
    for stage in range(len(landscape.options)):
        width = min(stage, depth) + 1
        total = best[..., None] + contributions(landscape.seed, stage, width)
        steps.append(total.argmax(axis=0) if width > depth else None)
        best = total.max(axis=0) if width > depth else total
    window = [int(k) for k in np.unravel_index(int(best.argmax()), best.shape)]
    for step in reversed(steps):
        if step is not None:
            window.insert(0, int(step[tuple(window[:depth])]))
    return Design(tuple(window))


def contributions(seed: int, stage: int, width: int) -> NDArray[np.float64]:
    """Return `landscape.contribution` of a stage for all choices of so many stages, one axis for each."""
    mask = (1 << 64) - 1
    first = np.uint64((seed * 0x9E3779B97F4A7C15 + stage * 0xD1B54A32D192ED03) & mask)
    with np.errstate(over="ignore"):
        mixed = first + np.arange(OPTIONS**width, dtype=np.uint64) * np.uint64(0x8CB92BA72F3D8DD7)
        for shift, factor in ((32, 0xD6E8FEB86659FD93), (29, 0xA0761D6478BD642F)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(32)
    values = mixed.astype(np.float64) / 2.0**64
    return values.reshape((OPTIONS,) * width)
