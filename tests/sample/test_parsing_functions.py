"""A completion becomes a body, in whatever way a model writes one; parents echoed back and ancestors called do not."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcome import Outcome
from schemas.specification import read_specification
from tasks.sample.parsing.functions import parse_functions

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
    extracted = parse_functions(completion, SPECIFICATION, version)
    assert extracted.verdict is None, extracted.verdict
    return extracted.body


def outcome(completion: str, version: int = 2) -> Outcome:
    extracted = parse_functions(completion, SPECIFICATION, version)
    assert extracted.verdict is not None, extracted.body
    assert extracted.body == ""
    assert extracted.verdict.error
    return extracted.verdict.outcome


WAYS = {
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


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_the_function_gives_its_body(way: str):
    assert body(WAYS[way]) == "# why\nreturn el * n"


def test_a_whole_module_brings_the_imports_and_helpers_it_uses_but_not_those_known():
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
    got = body(completion)
    assert "import numpy as np" in got
    assert "SCALE = 3" in got
    assert "def scaled(x):" in got
    for absent in ("import os", "unused", "+ 100"):
        assert absent not in got


def test_renamed_parameters_get_the_names_the_specification_has():
    assert body("def priority_v2(vector, dim):\n    return vector * dim") == "vector = el\ndim = n\nreturn vector * dim"


def test_a_recursive_function_calls_itself_under_its_name_in_the_specification():
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
def test_no_program_in_the_completion_is_unparsable(completion: str):
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
def test_calling_an_ancestor_or_doing_nothing_is_rejected(completion: str):
    assert outcome(completion) is Outcome.REJECTED


@given(st.text(max_size=400), st.sampled_from([*WAYS.values(), ""]))
def test_no_text_whatever_raises(noise: str, way: str):
    for text in (noise, noise + way, way + noise, way[: len(noise)] + noise):
        extracted = parse_functions(text, SPECIFICATION, 2)
        assert (extracted.verdict is None) == bool(extracted.body)


DEEP = {
    "a sum": lambda n: "    return 1" + " + el" * n,
    "a sum on the line of its header": lambda n: "def priority_v2(el, n): return 1" + " + el" * n,
    "calls of calls": lambda n: FULL.replace("el * n", "el" + "()" * n),
    "branches": lambda n: FULL + "\n    if el: pass\n" + "    elif n: pass\n" * n,
    "a helper": lambda n: "def helper_2(x): return x" + ".a" * n + "\n" + FULL.replace("el * n", "helper_2(el)"),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=list(DEEP))
@pytest.mark.parametrize("levels", [300, 2500])
def test_what_is_nested_too_deeply_is_unparsable_and_ends_no_generation(text: Callable[[int], str], levels: int):
    assert outcome(text(levels)) is Outcome.UNPARSABLE
    assert body(text(200))


@pytest.mark.parametrize("text", ["    return 0x" + "f" * 9999, "def priority_v2(el, n): return 0x" + "f" * 9999])
def test_a_number_of_more_digits_than_python_writes_is_unparsable(text: str):
    assert outcome(text) is Outcome.UNPARSABLE


def test_a_long_completion_without_what_was_asked_for_is_read_in_no_time():
    functions = "".join(f"def g{n}(a, b):\n    return [a + k * b for k in range({n})]\n\n" for n in range(100))
    began = time.process_time()
    assert outcome(functions + "That is why it works so well.\n" * 300) is Outcome.UNPARSABLE
    assert time.process_time() - began < 1
