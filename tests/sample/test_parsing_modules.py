"""Statements beside a function do in the program what they do in the answer, or the answer is refused with a reason."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.schemas.outcome import Outcome
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.codecs.functions import parse

SPECIFICATION = read_specification(
    '"""A problem."""\nimport funsearch\n\nK = [3]\nK.sort()\n\n\ndef helper(x):\n    return x\n\n\n@funsearch.evolve\n'
    "def f(x):\n    return x\n\n\n@funsearch.run\ndef evaluate(n):\n    return f(n)\n",
    "one.py",
)
MARKS = SimpleNamespace(run=lambda function: function, evolve=lambda function: function)


def body_of(answer: str, base: str = "") -> str:
    parsed = parse(f"```python\n{answer}\n```", SPECIFICATION, 1, base)
    assert parsed.verdict is None, parsed.verdict
    return parsed.body


def called(text: str, name: str, value: Any) -> Any:
    scope: dict[str, Any] = {"funsearch": MARKS}
    exec(text, scope)
    return scope[name](value)


T_OF_X = "def f_v1(x):\n    return T[x]"
LENGTH = "def f_v1(x):\n    return len(T)"
ALIKE = {
    "a memo of a helper": "def g(x):\n    g.memo[x] = x\n    return len(g.memo)\ng.memo = {}\n"
    "def f_v1(x):\n    return g(x)",
    "a memo of a helper that calls the function": "def g(x):\n    return f_v1(x - 1) if x else g.memo\ng.memo = 7\n"
    "def f_v1(x):\n    return g(x)",
    "an attribute of a class": "class C: pass\nC.z = 4\ndef f_v1(x):\n    return C.z",
    "a function that fills": "T = {}\ndef build():\n    T[0] = 3\n    return True\nready = build()\n" + T_OF_X,
    "a function that sets": "def g():\n    global T\n    T = [5]\ng()\n" + T_OF_X,
    "a call whose result has a name": "import heapq\nT = [3, 2, 1]\n_ = heapq.heapify(T)\n" + T_OF_X,
    "a method whose result has a name": "T = [3, 2, 1]\nfirst = T.pop()\n" + LENGTH,
    "a list of calls": "T = []\n_ = [T.append(i) for i in range(3)]\n" + LENGTH,
    "a lone list of calls": "from bisect import insort\nT = []\n[insort(T, v) for v in (3, 1)]\n" + T_OF_X,
    "a method by another name": "T = []\nadd = T.append\nadd(4)\n" + T_OF_X,
    "a list by another name": "T = []\nS = T\nS.append(2)\n" + T_OF_X,
    "a list that another name extends": "T = []\nS = T\nS += [2]\n" + T_OF_X,
    "a decorator that fills": "T = []\ndef reg(g):\n    T.append(1)\n    return g\n@reg\ndef a(): pass\n" + LENGTH,
    "a call in an assertion": "T = [1, 2]\nassert T.pop()\n" + LENGTH,
    "a call in a print": "T = [1, 2]\nprint(T.pop())\n" + LENGTH,
    "a print of its own": "T = []\ndef print(x):\n    T.append(x)\nprint(1)\n" + LENGTH,
    "a lambda that calls the function": "h = lambda x: f_v1(x - 1)\ndef f_v1(x):\n    return h(x) if x else 9",
    "a local variable like one of a test": "T = [1]\ndef f_v1(x):\n    out = T[x]\n    return out\nout = f_v1(0)",
    "a loop like one of a test": "T = []\nfor i in range(3):\n    T.append(i)\n"
    + LENGTH
    + "\nfor i in (1,):\n    f_v1(i)",
    "a seed": "import random\nrandom.seed(3)\ndef f_v1(x):\n    return random.random()",
}


@pytest.mark.parametrize("answer", ALIKE.values(), ids=list(ALIKE))
def test_a_program_does_what_its_answer_does(answer: str):
    program = SPECIFICATION.with_body(body_of(answer))
    assert called(program, "f", 0) == called(answer, "f_v1", 0)


def test_a_statement_about_the_whole_process_is_kept():
    answer = "import sys\nsys.setrecursionlimit(4321)\ndef f_v1(x):\n    return x if x < 2 else f_v1(x - 1)"
    before = sys.getrecursionlimit()
    try:
        called(SPECIFICATION.with_body(body_of(answer)), "f", 3)
        assert sys.getrecursionlimit() == 4321
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "test",
    [
        "print(f_v1(3))",
        "assert f_v1(3) == 3",
        "out = [f_v1(0)]\nout[0] = 3\nout += [3]\nout = sorted(out)\nout.append(2)\nfor one in out:\n    print(one)",
        "def main():\n    out = f_v1(1)\n    out.sort()\n    return out\nmain()",
        "import sys\ndef main():\n    return f_v1(1)\nsys.exit(main())",
        "print(sorted([1], key=lambda x: f_v1(x)))",
        "if __name__ == '__main__':\n    import os\n    os.abort()",
        "print(evaluate(3), len([1]))",
        "UNUSED = 1\nimport os\ndef g(x):\n    os.abort()\n@functools.cache\ndef h(x): pass\nclass A: pass",
        "K = [3]\nK.sort()",
        "f = f_v1",
        "helper(3)",
    ],
)
def test_what_is_surely_not_needed_is_left_out(test: str):
    assert body_of(f"def f_v1(x):\n    return x\n\n{test}") == "return x"


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ("T = {}\nfor i in range(5):\n    T[i] = f_v1(i)", "`for i in range(5): T[i] = f(i)` is not kept: it calls"),
        ("T = [f_v1(i) for i in range(3)]", "`T = [f(i) for i in range(3)]` is not kept: it calls the function, and"),
        (
            "T = []\nT.append(f_v1(2))",
            "`T.append(f(2))` is not kept: it calls the function, and changes",
        ),
        ("import heapq\nT = []\nheapq.heappush(T, f_v1(2))", "`heapq.heappush(T, f(2))` is not kept: it calls"),
        ("T = 1\nf_v1 = njit(f_v1)", "`f = njit(f)` beside the function is not kept: write it as a part of this"),
        ("T = 1\nK.append(3)", "`K.append(3)` is not kept: `K` belongs to the problem's file"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(beside: str, reason: str):
    verdict = parse(f"```\n{T_OF_X}\n\n{beside}\n```", SPECIFICATION, 1, "").verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.error.startswith(reason)


BASE = "import random\nT = []\nT.append(4)\nrandom.seed(3)\n\n\ndef f(x):\n    return T[x]"


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        (T_OF_X, [4]),
        (f"T = []\nT.append(4)\n{T_OF_X}", [4]),
        (f"T.append(4)\n{T_OF_X}", [4]),
        (f"T.append(5)\n{T_OF_X}", [4, 5]),
        (f"T = [6]\n{T_OF_X}", [6]),
    ],
)
def test_what_the_base_does_to_its_variables_is_done_once_and_not_to_those_of_the_answer(answer: str, values: list):
    parsed = body_of(answer, BASE)
    assert called(SPECIFICATION.with_body(parsed) + "\n\ndef all_of(x):\n    return T\n", "all_of", 0) == values
    assert random.random() == random.Random(3).random()


def test_what_the_base_does_to_a_variable_that_is_not_needed_is_left_out():
    assert SPECIFICATION.beside(body_of("def f_v1(x):\n    return x", BASE)) == "import random\nrandom.seed(3)"


COMPUTED = (
    "import math\nA = 2\n\n\ndef g(x):\n    return A * math.floor(x)\n\n\nT = [g(i) for i in range(3)]\n\n\n"
    "def f(x):\n    return T[x]"
)


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        (f"S = []\nfor i in range(2):\n    S.append(i)\n{T_OF_X}", [0, 2, 4]),
        (f"for i in range(3):\n    T.append(2 * i)\n{T_OF_X}", [0, 2, 4]),
        (f"for i in range(2):\n    T.append(7)\n{T_OF_X}", [0, 2, 4, 7, 7]),
        (f"T = [6]\n{T_OF_X}", [6]),
    ],
)
def test_a_loop_of_the_base_is_run_once_whatever_variable_counts_others(answer: str, values: list):
    base = body_of(f"T = []\nfor i in range(3):\n    T.append(2 * i)\n{T_OF_X}")
    program = SPECIFICATION.with_body(body_of(answer, base))
    assert called(program + "\n\ndef all_of(x):\n    return T\n", "all_of", 0) == values


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (f"import math\nS = [math.pi]\n{T_OF_X} + len(S)", 5),
        (f"import math as m, math\nS = [m.pi]\n{T_OF_X} + len(S)", 5),
        (f"def g(x):\n    return 10 * x + B\n\nB = A\n{T_OF_X}", 22),
        (f"A = 3\n{T_OF_X}", 6),
        (f"U = [T[1] + A]\n{T_OF_X} + U[0]", 8),
        (f"S = [i for i in range(2)]\n{T_OF_X} + len(S)", 6),
    ],
)
def test_what_the_base_computes_when_it_is_loaded_has_what_it_needs_of_the_answer(answer: str, value: int):
    program = SPECIFICATION.with_body(body_of(answer, body_of(COMPUTED.replace("def f(", "def f_v1("))))
    assert called(program, "f", 2) == value
