"""Test that bodies are parsed from completions in many styles, and that parents and calls of ancestors are refused."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable

import pytest

from overnight.schemas.outcome import Outcome
from overnight.tasks.program.specification import read_specification
from overnight.tasks.sample.codecs.functions import parse

SPECIFICATION = read_specification(
    textwrap.dedent('''
    import math
    @funsearch.run
    def evaluate(n): return priority(n, 1)
    def helper(x): return x
    @funsearch.evolve
    def priority(el, n):
        """Scores."""
        return 0.0
    '''),
    "s.py",
)

FULL = 'def priority_v2(el, n):\n    """Improved version of `priority_v1`."""\n    # why\n    return el * n'


def body(completion: str, version: int = 2) -> str:
    parsed = parse(completion, SPECIFICATION, version, "")
    assert parsed.verdict is None, parsed.verdict
    return parsed.body


def outcome(completion: str, version: int = 2) -> Outcome:
    parsed = parse(completion, SPECIFICATION, version, "")
    assert parsed.verdict is not None, parsed.body
    assert parsed.body == ""
    assert parsed.verdict.error
    return parsed.verdict.outcome


STYLES = {
    "a bare body": "    # why\n    return el * n\n",
    "a bare body with two spaces": "  # why\n  return el * n\n",
    "a bare body and then something else": "    # why\n    return el * n\n\n\ndef priority_v3(el, n):\n    return",
    "one function": FULL,
    "a fenced function": f"```python\n{FULL}\n```",
    "a fence that never ends": f"Here:\n```python\n{FULL}",
    "prose around a fence": f"Sure!\n\n```py\n{FULL}\n```\nThis *must* be better, since `x` …",
    "prose around no fence": f"Here is the function:\n\n{FULL}\n\nI hope this helps.",
    "several fences, the last is it": f"```\nx = 1\n```\n```python\n{FULL}\n```",
    "parents echoed first": f"def priority_v0(el, n):\n    return 1\n\ndef priority_v1(el, n):\n    return 2\n\n{FULL}",
    "a later version after it": f"{FULL}\n\ndef priority_v1(el, n):\n    return 9\n",
    "the plain name": FULL.replace("priority_v2", "priority"),
    "another name": FULL.replace("priority_v2", "better_priority"),
    "an indented fence": textwrap.indent(f"```python\n{FULL}\n```", "   "),
    "windows line ends": FULL.replace("\n", "\r\n"),
    "a decorated function": f"@funsearch.evolve\n{FULL}",
    "cut off in the middle of a later line": f"{FULL}\n    x = (1 +",
}


@pytest.mark.parametrize("style", STYLES)
def test_the_body_is_found_in_every_style(style: str):
    assert body(STYLES[style]) == "# why\nreturn el * n"


def test_imports_and_helpers_that_are_used_and_unknown_are_taken_from_a_module():
    completion = textwrap.dedent("""
        import numpy as np
        import os
        SCALE = 3

        def scaled(x):
            return x * SCALE

        def helper(x):
            return x + 100

        def unused(x):
            return x

        def priority_v2(el, n):
            return helper(scaled(np.sum(el)))
    """)
    parsed = body(completion)
    assert "import numpy as np" in parsed
    assert "SCALE = 3" in parsed
    assert "def scaled(x):" in parsed
    for absent in ("import os", "unused", "+ 100"):
        assert absent not in parsed


def test_a_helper_keeps_its_decorators_and_what_they_need():
    text = "import functools\n\n@functools.lru_cache(maxsize=None)\ndef cost(n):\n    return n and 1 + cost(n - 1)\n\n"
    assert (
        body(f"{text}def priority_v2(el, n):\n    return cost(n)")
        == f"{text.replace(chr(10) * 2, chr(10))}return cost(n)"
    )


def test_renamed_parameters_get_aliases():
    assert body("def priority_v2(vector, dim):\n    return vector * dim") == "vector = el\ndim = n\nreturn vector * dim"


def test_a_recursive_call_uses_the_name_in_the_specification():
    assert body("def priority_v2(el, n):\n    return priority_v2(el, n - 1)") == "return priority(el, n - 1)"


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "   \n",
        "I cannot help with that.",
        "Yes",
        "def priority_v0(el, n):\n    return 1",
        "def priority_v0(el, n):\n    return 1\n\ndef priority_v1(el, n):\n    return 2",
        "```python\nprint('hello'\n```",
        "def something(a, b, c, d):\n    return 1",
        "(" * 20_000,
        "\0\0",
    ],
)
def test_a_completion_without_a_program_is_unparsable(completion: str):
    assert outcome(completion) is Outcome.UNPARSABLE


@pytest.mark.parametrize(
    "completion",
    [
        "    return priority_v1(el, n) + 1",
        "    return priority_v0(el, n)",
        "    return max(map(priority_v1, [el]))",
        "def priority_v2(el, n):\n    pass",
        'def priority_v2(el, n):\n    """Nothing."""\n    ...',
    ],
)
def test_a_body_that_calls_an_ancestor_or_does_nothing_is_rejected(completion: str):
    assert outcome(completion) is Outcome.REJECTED


DEEP = {
    "a sum": lambda n: "    return 1" + " + el" * n,
    "a sum on the line of its header": lambda n: "def priority_v2(el, n): return 1" + " + el" * n,
    "calls of calls": lambda n: FULL.replace("el * n", "el" + "()" * n),
    "branches": lambda n: FULL + "\n    if el: pass\n" + "    elif n: pass\n" * n,
    "a helper": lambda n: "def helper_2(x): return x" + ".a" * n + "\n" + FULL.replace("el * n", "helper_2(el)"),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=list(DEEP))
@pytest.mark.parametrize("levels", [300, 2500])
def test_code_that_is_nested_too_deeply_is_unparsable(text: Callable[[int], str], levels: int):
    assert outcome(text(levels)) is Outcome.UNPARSABLE
    assert body(text(200))


@pytest.mark.parametrize("text", ["    return 0x" + "f" * 9999, "def priority_v2(el, n): return 0x" + "f" * 9999])
def test_a_number_with_more_digits_than_python_prints_is_unparsable(text: str):
    assert outcome(text) is Outcome.UNPARSABLE


def test_a_long_completion_without_the_function_is_parsed_in_less_than_a_second():
    functions = "".join(f"def g{n}(a, b):\n    return [a + k * b for k in range({n})]\n\n" for n in range(100))
    began = time.process_time()
    assert outcome(functions + "That is why it works so well.\n" * 300) is Outcome.UNPARSABLE
    assert time.process_time() - began < 1
