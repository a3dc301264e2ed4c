"""Whole prompts of ten kinds: the approved texts in `tests/sample/approved`, so that a change is read as a diff.

    python -m tests.approved_prompts            # write them anew

Each is composed as in a night: an algorithm and a composer are told of answers, and asked for a plan.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from overnight.schemas.agent_settings import AgentSettings
from overnight.schemas.algorithm import Algorithm, PromptResult, Turn
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_SCORE, Program, Prompt, program_of
from overnight.tasks.agent.workspace import Room, task_text
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.founding import Founding
from overnight.tasks.select.front import FrontSearch
from overnight.tasks.select.operators.composer import Composer

FOLDER = Path(__file__).parent / "sample" / "approved"
SPECIFICATIONS = Path(__file__).parent / "specifications"
CHAT = {"models": [{"name": "openai/a"}]}
TOOK: dict[str, Any] = {"cpu_s": 1.2345, "peak_mib": 87.6}


def answer(name: str, body: str, *scores: float, parent: str = "start", idea: str = "", **more: Any) -> Feedback:
    """Return a judged answer; one without scores crashed."""
    outcome = Outcome.SCORED if scores else Outcome.CRASHED
    score = sum(scores) / len(scores) if scores else None
    given = {"error": "" if scores else "NameError: name 'math' is not defined", "output": "", **TOOK, **more}
    return Feedback(parent, body, outcome, scores=scores, score=score, program_id=name, idea=idea, **given)


def composed(
    problem: Problem,
    scores: Sequence[float],
    *prompts: Sequence[Feedback],
    base: str = "",
    metrics: Mapping[str, float] = MappingProxyType({}),
) -> Prompt:
    """Return the prompt that follows the answers to others, of a base if it is named.

    `scores` and `metrics` are those of the start program.
    """
    settings, objectives = problem.settings.search.algorithm, problem.settings.objectives
    body = problem.specification.start_body
    start = Program("start", body, tuple(scores), sum(scores) / len(scores) if scores else NO_SCORE, metrics, **TOOK)

    def found(first: Program) -> Algorithm:
        algorithm = create_algorithm(settings, first, 1)
        return FrontSearch(algorithm, objectives, first, 1) if objectives.searches_front else algorithm

    algorithm = found(start) if scores else Founding(found, start, settings.founded_niches)
    composer, record = Composer(problem, start, 1), None
    for answers in prompts:
        children = tuple(program_of(one) for one in answers if one.score is not None)
        algorithm.tell(1, [PromptResult("0", answers[-1].parent_id, len(answers), children)], reset=False)
        record = PromptRecord("0", "refine", "openai/a", tuple(answers))
        composer.tell(record)
    turns = [Turn(2, index) for index in range(200)]
    plans = (composer.compose(algorithm.ask(turn), turn, 0, record) for turn in turns)
    plan = next(plan for plan in plans if not base or plan.base.id == base)
    (prompt,) = build_prompts({0: plan}, problem, seed=1, generation=2, start=start)
    return prompt


def library(name: str, *operators: Operator, **settings: Any) -> Problem:
    """Return a problem of the library for a chat model, with some operators."""
    search = {"operators": [one.value for one in operators], "algorithm": "greedy", **settings.pop("search", {})}
    return load_problem(find(name), {"sampling": CHAT, "search": search, **settings})


REST = "rest = bins - item\nreturn -rest"
SQUARES = "rest = bins - item\nreturn -(rest**2)"
BEST = "rest = bins - item\nreturn np.where(rest < 20, -rest, -rest - 10)"


def function() -> str:
    """A weak base with the best beside it, feedback, tried ideas and what raised the best."""
    problem = library("bin-packing-or", Operator.REFINE, search={"algorithm": {"name": "greedy", "epsilon": 0.5}})
    start, better, best = (-5.0, -5.5, -5.0, -5.0, -5.5, -5.5), (-4.5,) * 6, (-3.4, -3.4, -3.5, -3.3, -3.5, -3.4)
    prompt = composed(
        problem,
        start,
        [answer("rest", REST, *start, idea="prefer full bins, as Best Fit does")],
        [answer("squares", SQUARES, *better, idea="squares of what is left")],
        [answer("best", BEST, *best, parent="squares", idea="avoid rests that no item fits")],
        [answer("failed", "return -math.log(bins)", parent="squares", idea="logarithms of what is left")],
        [answer("worse", "return bins", *(-9.0,) * 6, parent="squares", idea="prefer `priority_v0`'s emptiest bins")],
        base="squares",
    )
    return as_text(prompt)


def several_functions() -> str:
    problem = load_problem(SPECIFICATIONS / "several.py", {"sampling": CHAT, "search": {"operators": ["rewrite"]}})
    old = "def guess(x: float, state: float) -> float:\n    return x\n"
    better = f"{old}\n\ndef update(state: float, error: float) -> float:\n    return state + 0.5 * error"
    return as_text(composed(problem, (-0.9, -1.9), [answer("better", better, -0.3, -0.4, idea="learn half of it")]))


def file() -> str:
    problem = load_problem(SPECIFICATIONS / "hill", {"sampling": CHAT, "search": {"operators": ["refine"]}})
    return as_text(composed(problem, (-4.0, -5.0), [answer("better", "x = 2.5\ny = 6.5\n", -1.0, -2.0)]))


def files_in_another_language() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "queue")
        folder.mkdir()
        (folder / "queue.h").write_text("int push(int item);\n")
        (folder / "queue.c").write_text('#include "queue.h"\n\nint push(int item) {\n    return item;\n}\n')
        (folder / "overnight.toml").write_text(
            'statement = "Push as many items a second as you can."\ninputs = [0, 1]\n'
            '[command]\nprogram = ["queue.h", "queue.c"]\nevaluate = ["./measure", "{input}"]\n'
        )
        problem = load_problem(folder, {"sampling": CHAT, "search": {"operators": ["refine"]}})
    body = problem.specification.start_body.replace("return item;", "return item + 0;")
    return as_text(composed(problem, (4.0, 5.0), [answer("better", body, 6.0, 7.0, idea="add nothing")]))


def repair() -> str:
    problem = library("bin-packing-or", Operator.REFINE, Operator.REPAIR, search={"repairs": 1.0})
    failed = answer("failed", "rest = bins - item\nreturn -math.log(rest + 1)", idea="logarithms", output="bins: 7")
    return as_text(composed(problem, (-5.0, -5.5, -5.0, -5.0, -5.5, -5.5), [failed]))


def cross() -> str:
    problem = library("bin-packing-or", Operator.CROSS)
    one, other = (-3.5, -3.5, -4.5, -3.5, -3.5, -3.5), (-4.0, -4.0, -4.0, -4.0, -4.0, -4.0)
    answers = [answer("other", SQUARES, *other), answer("one", BEST, *one)]
    return as_text(composed(problem, (-5.0, -5.5, -5.0, -5.0, -5.5, -5.5), answers, base="one"))


def no_start() -> str:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "sorting.py")
        path.write_text(
            '"""Sort numbers in as few steps as you can."""\n'
            "# /// script\n# [tool.overnight]\n# inputs = [4, 5]\n# ///\nimport funsearch\n\n"
            "# Steps after which a program is stopped.\nMOST = 100\n\n\n"
            "@funsearch.run\ndef evaluate(n: int) -> float:\n    return -steps(n, step)\n\n\n"
            "@funsearch.evolve\ndef step(numbers: list[int]) -> tuple[int, int]:\n"
            '    """Return the places to swap."""\n'
        )
        problem = load_problem(path, {"sampling": CHAT, "search": {"algorithm": "greedy"}})
    return as_text(composed(problem, (), [answer("failed", "return math.inf, 0", idea="swap the ends")]))


def two_objectives() -> str:
    problem = library("checkpointing", Operator.REFINE)
    all_kept = answer("all", "return 1", -99.0, idea="keep every state", metrics={"states": 99.0})
    same = [
        answer(f"s{states}", body, -99.0, parent="all", idea=idea, metrics={"states": states})
        for states, body, idea in ((98.0, "return 2", "keep none of two steps"), (99.0, "return 3", "keep three"))
    ]
    return as_text(composed(problem, (-411.0,), [all_kept], same, base="s98.0", metrics={"states": 3.0}))


def agent() -> str:
    sampling = {"sampling": {"models": ["agent:mini-swe-agent/openai/a"]}}
    problem = library("bin-packing-or", Operator.REFINE, **sampling)
    prompt = composed(problem, (-5.0, -5.5, -5.0, -5.0, -5.5, -5.5), [answer("squares", SQUARES, *(-4.5,) * 6)])
    limits, room = problem.settings.agent, Room(2048, 12, True, AgentSettings(preset="mini-swe-agent").about)
    return task_text(prompt, problem.specification, ["program.py"], ["earlier/5c6f/sim.py"], room, limits)


def completion_model() -> str:
    models = {"models": [{"name": "openai/a", "style": "completion"}]}
    problem = load_problem(find("bin-packing-or"), {"sampling": models, "search": {"algorithm": "greedy"}})
    return as_text(composed(problem, (-5.0, -5.5, -5.0, -5.0, -5.5, -5.5), [answer("squares", SQUARES, *(-4.5,) * 6)]))


def as_text(prompt: Prompt) -> str:
    """Return the messages of a prompt as one text."""
    parts = [("System message", prompt.system), ("Message", prompt.text)]
    return "\n".join(f"==== {title} ====\n\n{text.rstrip()}\n" for title, text in parts if text)


_KINDS = (function, several_functions, file, files_in_another_language, repair, cross, no_start, two_objectives)
KINDS: dict[str, Callable[[], str]] = {
    compose.__name__.replace("_", "-"): compose for compose in (*_KINDS, agent, completion_model)
}
"""The kinds, each with the function that composes its prompt."""


def main() -> None:
    """Write all prompts."""
    FOLDER.mkdir(exist_ok=True)
    for kind, compose in KINDS.items():
        (FOLDER / f"{kind}.txt").write_text(compose())
        sys.stdout.write(f"wrote {kind}\n")


if __name__ == "__main__":
    main()
