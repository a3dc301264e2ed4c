"""Other systems on simulated problems: each runs as a process of its own against the simulated model on loopback.

What counts is the same as for Overnight: every answer that the model gave, retries and resamples included, and the best
score that the system's own evaluations had reached by the next one. Requests for embeddings do not count.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from overnight.testing.fake_provider import Answer, Provider, Request
from tests.bench.simulated.designs import block_of
from tests.bench.simulated.model import SimulatedModel
from tests.bench.simulated.peer_tasks import write_openevolve, write_shinka
from tests.bench.simulated.problems import MAX_TOKENS, STATEMENT, SimulatedProblem
from tests.bench.simulated.server import respond
from tests.bench.simulated.trace import Trace
from tests.bench.simulated.tuning import tuned_gap

_MORE = 4
"""Answers after the last one that counts, during which its program is evaluated."""

_POLL_S = 0.05

_MODEL = "simulated"


@dataclass(frozen=True)
class PeerTask:
    """What a system is to search.

    Attributes:
        folder: Folder for its files.
        log: File to which its evaluations are written.
        api_base: Address of the model.
        seed: Seed of the run, for systems that have one.
        answers: Number of answers that are wanted; it ends the run itself after no fewer.
    """

    problem: SimulatedProblem
    folder: Path
    log: Path
    api_base: str
    seed: int
    answers: int


def openevolve(task: PeerTask) -> list[str]:
    """Write a task for OpenEvolve and return the arguments of its Python."""
    llm = {
        "primary_model": _MODEL,
        "primary_model_weight": 1.0,
        "api_base": task.api_base,
        "api_key": "none",
        "max_tokens": MAX_TOKENS,  # room to reason, as all systems have it
    }
    write_openevolve(task.problem, task.folder, task.log, llm, task.seed)
    files = [str(task.folder / name) for name in ("initial_program.py", "evaluator.py")]
    more = {"--config": task.folder / "config.yaml", "--output": task.folder / "out", "--iterations": task.answers}
    return ["-m", "openevolve.cli", *files, *(str(word) for pair in more.items() for word in pair)]


def shinka(task: PeerTask) -> list[str]:
    """Write a task for ShinkaEvolve and return the arguments of its Python."""
    write_shinka(task.problem, task.folder, task.log)
    model = f"local/{_MODEL}@{task.api_base}"
    settings = {"llm_models": f'["{model}"]', "embedding_model": model, "task_sys_msg": STATEMENT}
    more = {"--task-dir": task.folder, "--results_dir": task.folder / "out", "--num_generations": task.answers}
    sets = [word for name, value in settings.items() for word in ("--set", f"evo.{name}={value}")]
    return ["-m", "shinka.cli.run", *(str(word) for pair in more.items() for word in pair), "--no-verbose", *sets]


PEERS: dict[str, Callable[[PeerTask], list[str]]] = {"openevolve": openevolve, "shinka": shinka}
"""How each system is started, by its name."""


class Calls:
    """Answers that a simulated model gave to a system.

    Args:
        model: The model.
        most: Number of answers after which requests are left without one.

    Attributes:
        times: When each was given, `time.monotonic()`.
        tokens: Tokens of all prompts and answers up to each.
    """

    def __init__(self, model: SimulatedModel, most: int) -> None:
        self._model, self._most = model, most
        self.times: list[float] = []
        self.tokens: list[int] = []

    def answer(self, number: int, request: Request) -> Answer:
        """Answer a request, and write it down if it is not for an embedding."""
        if self.is_enough():
            return Answer(hang=True)
        answer = respond(self._model, number, request)
        if "choices" in answer.body:
            spent = answer.body["usage"]["total_tokens"] + (self.tokens[-1] if self.tokens else 0)
            for _ in answer.body["choices"]:
                self.times.append(time.monotonic())
                self.tokens.append(spent)
        return answer

    def is_enough(self) -> bool:
        """Return whether the system got all answers."""
        return len(self.times) >= self._most


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a system.

    Attributes:
        time: When it ended, `time.monotonic()`.
        program: Hash of the program's syntax.
        score: Not a number if it failed.
    """

    time: float
    program: str
    score: float


def run_peer(
    name: str, python: str, problem: SimulatedProblem, model: SimulatedModel, seed: int, answers: int, limit_s: float
) -> Trace:
    """Let a system search until it got so many answers, ended, or took too long.

    Raises:
        RuntimeError: If it got no answer.
    """
    calls, begin = Calls(model, answers + _MORE), time.monotonic()
    with tempfile.TemporaryDirectory() as parent, Provider(calls.answer) as provider:
        folder, log, output = (Path(parent, part) for part in ("task", "evaluations", "output"))
        command = PEERS[name](PeerTask(problem, folder, log, provider.api_base, seed, answers))
        with output.open("w") as file:
            process = subprocess.Popen(
                [python, *command],
                cwd=parent,
                env=_environment(parent, python),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            _wait(process, calls.is_enough, begin + limit_s)
        if not calls.times:
            raise RuntimeError(f"{name} asked the model for nothing; it wrote:\n{output.read_text()[-2000:]}")
        found = read_evaluations(log.read_text() if log.exists() else "")
        trace = trace_of(
            problem, calls.times[:answers], calls.tokens[:answers], found, answers, time.monotonic() - begin
        )
        return replace(trace, tuned=_tuned_gap(problem, log, found, calls.times, answers, seed))


def read_evaluations(log: str) -> list[Evaluation]:
    """Read what an evaluator wrote down, but for a last line that is not complete."""
    lines = [line.split() for line in log.split("\n")[:-1]]
    return [Evaluation(float(at), program, float(score)) for at, program, score in lines]


def trace_of(
    problem: SimulatedProblem,
    times: Sequence[float],
    tokens: Sequence[int],
    evaluations: Iterable[Evaluation],
    wanted: int,
    seconds: float,
) -> Trace:
    """Return the course of a search from the times of its answers and of its evaluations.

    What was evaluated before the next answer belongs to an answer.
    """
    count, known, best = len(times), set[str](), problem.start_score
    bests, scored, repeats = np.full(count, -np.inf), np.zeros(count), np.zeros(count)
    for one in sorted(evaluations, key=lambda evaluation: evaluation.time):
        place = int(np.searchsorted(times, one.time)) - 1
        is_known = one.program in known
        known.add(one.program)
        if place < 0:  # the start program
            continue
        repeats[place] += is_known
        if np.isfinite(one.score):
            scored[place] += not is_known
            best = max(best, one.score)
            bests[place] = best
    gaps = [problem.gap(score) for score in np.maximum.accumulate(np.maximum(bests, problem.start_score))]
    spent = np.array(tokens, dtype=np.float64)
    return Trace(np.array(gaps), spent, scored.cumsum(), repeats.cumsum(), wanted=wanted, seconds=seconds)


def _tuned_gap(
    problem: SimulatedProblem, log: Path, found: Iterable[Evaluation], times: Sequence[float], answers: int, seed: int
) -> float:
    """Return the gap of the best program that was evaluated in time, after the product's tuner worked on it."""
    end = times[answers] if len(times) > answers else math.inf
    in_time = [one for one in found if one.time < end and math.isfinite(one.score)]
    best = max(in_time, key=lambda one: one.score, default=None)
    if best is None:
        return 1.0
    source = log.with_name(f"{log.name}-{best.program}").read_text()
    return tuned_gap(problem, block_of(source).rstrip(), seed)


def _wait(process: subprocess.Popen[bytes], is_enough: Callable[[], bool], until: float) -> None:
    """Wait for a process, and end it and what it started once it is enough or too late."""
    try:
        while process.poll() is None and not is_enough() and time.monotonic() < until:
            time.sleep(_POLL_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(home: str, python: str) -> dict[str, str]:
    """Return an environment without keys, with a Python as `python`, and nothing but loopback to reach by HTTP."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.pathsep.join([str(Path(shutil.which(python) or python).absolute().parent), os.environ["PATH"]]),
        "HOME": home,
        "TMPDIR": home,
        "OPENAI_API_KEY": "none",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
    }
