"""Drawing in the sandbox: under the limits of candidates, isolated or not; the result is text that the host checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.report.sanitised_svg import sanitise, title_of

pytestmark = pytest.mark.docker

HEAD = "from funsearch import svg\nimport funsearch\n\n@funsearch.evolve\ndef answer(n):\n    {body}\n\n"
DRAWS = """@funsearch.draw
def draw(n):
    picture = svg.Picture(100, 50, f"the answer is {answer(n)}")
    picture.circle(50, 25, 10, fill=svg.BLUE)
    return picture
"""
PROGRAM = HEAD.format(body="return n + 1") + DRAWS
JOB = Job("draw", (Call((41,)),), Limits(wall_s=2, cpu_s=8, memory_mib=96, output_kib=16), draws=True)
ISOLATED = replace(JOB, isolation=Isolation(("answer",), PROGRAM))


@pytest.fixture(scope="module")
def drawing(sandbox_image: str) -> Iterator[SandboxPool]:
    with open_pool(JOB, image=sandbox_image, slots=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def isolated(sandbox_image: str) -> Iterator[SandboxPool]:
    with open_pool(ISOLATED, image=sandbox_image, slots=1) as pool:
        yield pool


def drawn_by(code: str) -> str:
    return HEAD.format(body="return n + 1") + "@funsearch.draw\ndef draw(n):\n    " + code


def test_a_function_draws_what_the_evolved_function_does(drawing: SandboxPool, isolated: SandboxPool):
    for pool in (drawing, isolated):
        verdict = pool.evaluate(PROGRAM)
        assert (verdict.outcome, verdict.scores) == (Outcome.SCORED, ())
        assert title_of(sanitise(verdict.drawing)) == "the answer is 42"


def test_in_isolation_a_program_cannot_draw_something_else(isolated: SandboxPool):
    forged = PROGRAM.replace("the answer is", "best of all:")
    assert title_of(sanitise(isolated.evaluate(forged).drawing)) == "the answer is 42"


FAILS = {
    "raises": ("raise ValueError('no way')", Outcome.CRASHED, "ValueError: no way"),
    "returns a number": ("return 3", Outcome.BAD_SCORE, "expected a drawing as text, got int"),
    "is slow": ("while True: pass", Outcome.TIMED_OUT, "2 s"),
    "is huge": ("return '<svg>' + 'x' * 2**21", Outcome.BAD_SCORE, "more into the result channel"),
    "takes memory": ("return 'x' * 2**31", Outcome.OUT_OF_MEMORY, "96 MiB"),
    "reads the host": ("return open('/etc/shadow').read()", Outcome.CRASHED, "No such file"),
    "exits": ("import os; os._exit(0)", Outcome.CRASHED, "exit code 0"),
}


@pytest.mark.parametrize(("code", "outcome", "says"), FAILS.values(), ids=FAILS)
def test_a_drawing_that_fails_is_judged_like_a_program_and_leaves_no_picture(
    drawing: SandboxPool, code: str, outcome: Outcome, says: str
):
    verdict = drawing.evaluate(drawn_by(code))
    assert (verdict.outcome, verdict.drawing) == (outcome, "")
    assert says in verdict.error
    assert drawing.evaluate(PROGRAM).drawing, "the next one is drawn"


def test_a_figure_with_savefig_is_drawn(drawing: SandboxPool):
    figure = (
        "class F:\n        def savefig(self, file, format): file.write(f'<svg viewBox=\"0 0 1 1\">{format}</svg>')\n"
    )
    assert ">svg</svg>" in drawing.evaluate(drawn_by(f"{figure}    return F()")).drawing


def test_a_command_draws_on_its_output(sandbox_image: str):
    command = Command("candidate.py", ("python3", "{program}", "{input}"), metric="score")
    job = Job("", (Call((41,)),), Limits(wall_s=3, memory_mib=96, scratch_mib=16, output_kib=16), command=command)
    circles = "'<circle r=\"1\"/>' * 4000"
    program = (
        f"import sys\nprint('<svg viewBox=\"0 0 9 9\"><title>' + sys.argv[1] + '</title>' + {circles} + '</svg>')\n"
    )
    with open_pool(replace(job, draws=True), image=sandbox_image, slots=1) as pool:
        verdict = pool.evaluate(program)
        assert verdict.outcome is Outcome.SCORED, verdict.error
        assert title_of(sanitise(verdict.drawing)) == "41"
        assert "exit code 3" in pool.evaluate("raise SystemExit(3)").error
