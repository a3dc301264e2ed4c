"""A scoring asks a model by `funsearch.ask`: from its own process alone, and the wait does not count."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace

import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import QuestionRefused, QuestionUnanswered
from overnight.schemas.files import File
from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome
from overnight.schemas.question import MOST_ANSWER_CHARS, MOST_QUESTIONS, Ask, Question
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.evaluate.registry import create_backend

SCORING = """
import funsearch, os

@funsearch.run
def evaluate(n):
    return float(funsearch.ask(f"what is {guess(n)}?"))

@funsearch.evolve
def guess(n):
    return n
"""

LIMITS = Limits(wall_s=1, cpu_s=8, memory_mib=96)
CALLS = (Call((3,)), Call((4,)))
JOB = Job("evaluate", CALLS, LIMITS, isolation=Isolation(("guess",), SCORING, checks_calls=True), asks=True)

WRITES = """\
    import os, struct
    for end in range(1, 64):
        for data in (b'"what is 100?"', b'{"question": "what is 100?", "input": 1}'):
            try:
                os.write(end, struct.pack(">I", len(data)) + data)
            except OSError:
                pass
    return 3"""
"""A candidate that writes to whatever pipe it has, in the form of a question and of a frame of the runner."""

Begin = Callable[..., SandboxPool]


def scored_by(lines: str, *, inputs: int = 1) -> Job:
    """Return a job whose scoring has these lines."""
    text = SCORING.replace('return float(funsearch.ask(f"what is {guess(n)}?"))', lines)
    return replace(JOB, inputs=CALLS[:inputs], isolation=Isolation(("guess",), text))


@pytest.fixture(scope="module")
def begin(kind: str, sandbox_image: str) -> Begin:
    """Starts a pool of each backend, with what answers its questions."""

    def begin(job: Job, ask: Ask | None) -> SandboxPool:
        return open_pool(job, backend=kind, image=sandbox_image, slots=1, ask=ask)

    return begin


class Answers:
    """Answers with the number in a question, after some seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[Question] = []
        self._seconds = seconds

    def __call__(self, question: Question) -> Future[str]:
        self.asked.append(question)
        time.sleep(self._seconds)
        return answered(question.text.removeprefix("what is ").rstrip("?"))


def answered(answer: str | Exception) -> Future[str]:
    future: Future[str] = Future()
    future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
    return future


def test_the_answer_arrives_and_the_wait_is_no_time_of_the_program(begin: Begin):
    ask = Answers(seconds=1.5)
    with begin(JOB, ask) as pool:
        verdict = pool.evaluate(SCORING)
        again = pool.evaluate(SCORING)
        assert pool.starts == 1
    assert verdict.scores == again.scores == (3.0, 4.0)
    assert verdict.wall_s < 1.0
    assert [(one.text, one.input, one.ordinal) for one in ask.asked[:2]] == [("what is 3?", 1, 0), ("what is 4?", 2, 0)]


@pytest.mark.parametrize(
    "lines",
    [
        "    import funsearch\n    return funsearch.ask('what is 100?')",
        "    import program\n    return program.funsearch.ask('what is 100?')",
        WRITES,
    ],
    ids=["ask", "the_module's", "pipes"],
)
def test_a_candidate_gets_no_answer(begin: Begin, lines: str):
    ask = Answers()
    with begin(JOB, ask) as pool:
        verdict = pool.evaluate(SCORING.replace("    return n\n", f"{lines}\n"))
        assert not any("100" in one.text for one in ask.asked)
        assert not verdict.is_scored
        assert verdict.outcome in (Outcome.CRASHED, Outcome.BAD_SCORE), verdict
        assert pool.evaluate(SCORING).scores == (3.0, 4.0)


def test_what_shares_the_programs_process_may_not_ask(begin: Begin):
    ask = Answers()
    with begin(replace(JOB, isolation=None), ask) as pool:
        verdict = pool.evaluate(SCORING)
    assert verdict.outcome is Outcome.CRASHED
    assert "only the scoring may ask, in a process without the program: --set sandbox.split=true" in verdict.error
    assert ask.asked == []


def test_equal_questions_on_an_input_are_told_apart_and_threads_may_ask(begin: Begin):
    job = scored_by(
        "from concurrent.futures import ThreadPoolExecutor as T\n"
        "    with T(4) as threads:\n        found = list(threads.map(funsearch.ask, ['what is 1?'] * 5))\n"
        "    return sum(map(float, found))",
        inputs=2,
    )
    ask = Answers()
    with begin(job, ask) as pool:
        assert pool.evaluate(job.isolation.specification if job.isolation else "").scores == (5.0, 5.0)
    assert [(one.input, one.ordinal) for one in ask.asked] == [(place, n) for place in (1, 2) for n in range(5)]


@pytest.mark.parametrize(
    ("lines", "answer", "says"),
    [
        ("return funsearch.ask(7)", "1", "TypeError: funsearch.ask takes text, got int"),
        (
            "return funsearch.ask('x' * 32769)",
            "1",
            "ValueError: funsearch.ask takes at most 32768 characters, got 32769",
        ),
        ("return len(funsearch.ask('x' * 32768))", "1" * (MOST_ANSWER_CHARS + 1), "the answer has 32769 characters"),
        (
            f"return [funsearch.ask('x') for _ in range({MOST_QUESTIONS + 1})]",
            "1",
            "at most 100 questions are answered",
        ),
    ],
)
def test_what_is_beyond_a_limit_is_an_error_of_the_scoring(begin: Begin, lines: str, answer: str, says: str):
    job = scored_by(lines)
    with begin(job, lambda _: answered(answer)) as pool:
        verdict = pool.evaluate(SCORING)
    assert verdict.outcome is Outcome.CRASHED
    assert says in verdict.error


def test_without_a_model_the_scoring_is_told_how_to_name_one(begin: Begin):
    with begin(JOB, None) as pool:
        assert "no model is named that the scoring asks: --judge MODEL" in pool.evaluate(SCORING).error


def test_a_question_without_an_answer_never_becomes_a_verdict_on_the_program(begin: Begin):
    answers: list[str | Exception] = [QuestionUnanswered("the budget is spent"), QuestionRefused(), "5", "5"]
    with begin(JOB, lambda _: answered(answers.pop(0))) as pool:
        with pytest.raises(QuestionUnanswered):
            pool.evaluate(SCORING)
        assert pool.evaluate(SCORING).outcome is Outcome.SANDBOX_ERROR
        assert pool.evaluate(SCORING).scores == (5.0, 5.0)


COMMAND = b"""
import importlib.util, json, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
import funsearch

def other(number):
    return int(funsearch.ask(f"what is {number}?"))

spec = importlib.util.spec_from_file_location("program", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with ThreadPoolExecutor(2) as threads:
    begun = threads.map(other, [module.guess(1), 2])
    if not (child := os.fork()):
        os._exit(other(3))
    found = [*begun, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
code = "import funsearch; funsearch.ask('what is 5?')"
closed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
assert "only the command's own process may ask" in closed, closed
print(json.dumps({"score": sum(found)}))
"""

PROGRAM = "def guess(n):\n    return n\n"


def test_a_command_asks_from_its_process_and_its_candidate_cannot(kind: str, sandbox_image: str):
    command = Command("prog.py", ("python3", "way.py", "{program}"), "score", apart=True)
    limits = Limits(wall_s=20, memory_mib=256, scratch_mib=16)
    job = Job("", CALLS[:1], limits, command=command, asks=True)
    with closing(create_backend(kind, runners=1)) as backend:
        image = backend.prepare(sandbox_image, Dependencies(), (File("way.py", COMMAND),), print)
    ask = Answers()
    with open_pool(job, backend=kind, image=image, slots=1, ask=ask) as pool:
        verdict = pool.evaluate(PROGRAM)
        assert verdict.scores == (6.0,), verdict
        lines = "    import funsearch\n    return funsearch.ask('what is 100?')\n"
        assert not pool.evaluate(PROGRAM.replace("    return n\n", lines)).is_scored
    assert not any("100" in one.text for one in ask.asked)
