"""Test that bodies are parsed from completions in many styles, and that parents and calls of ancestors are refused."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from overnight.schemas.outcome import Outcome
from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import PromptContent
from overnight.tasks.sample.codecs.functions import parse, render

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


def program_of(completion: str, base: str = "") -> tuple[str, Any]:
    """Return the parsed body, and the evolved function of the program that has it."""
    parsed = parse(completion, SPECIFICATION, 2, base)
    assert parsed.verdict is None, parsed.verdict
    assert SPECIFICATION.join(SPECIFICATION.split(parsed.body), SPECIFICATION.beside(parsed.body)) == parsed.body
    again = parse(f"```python\n{SPECIFICATION.bare_text(parsed.body)}\n```", SPECIFICATION, 1, "")
    assert again.body == parsed.body
    scope: dict[str, Any] = {"funsearch": SimpleNamespace(run=_unchanged, evolve=_unchanged)}
    exec(SPECIFICATION.with_body(parsed.body), scope)
    return parsed.body, scope["priority"]


def _unchanged(function: Any) -> Any:
    return function


def refusal(completion: str) -> str:
    parsed = parse(completion, SPECIFICATION, 2, "")
    assert parsed.verdict is not None
    assert parsed.verdict.outcome is Outcome.REJECTED
    return parsed.verdict.error


def test_what_a_function_needs_beside_itself_stays_there_and_the_rest_is_left_out():
    completion = textwrap.dedent("""
        import math
        import collections, os
        SCALE = 3

        def scaled(x):
            return x * SCALE

        def unused(x):
            return x

        def priority_v2(el, n):
            return helper(scaled(math.floor(el)))
    """)
    parsed, priority = program_of(completion)
    assert parsed == (
        "SCALE = 3\n\n\ndef scaled(x):\n    return x * SCALE\n\n\n"
        "def priority(el, n):\n    return helper(scaled(math.floor(el)))"
    )
    assert priority(2.5, 0) == 6


def test_imports_alone_are_put_into_the_function():
    parsed, priority = program_of(
        "import heapq\nimport os\n\ndef priority_v2(el, n):\n    return heapq.nlargest(n, el)"
    )
    assert parsed == "import heapq\nreturn heapq.nlargest(n, el)"
    assert priority([1, 3], 1) == [3]


def test_a_cache_of_the_module_lasts_from_call_to_call():
    _, priority = program_of("""
_CACHE = {}

def _work(n):
    return [n]

def priority_v2(el, n):
    if n not in _CACHE:
        _CACHE[n] = _work(n)
    return _CACHE[n]
""")
    assert priority(0, 3) is priority(1, 3)


def test_what_changes_a_needed_variable_is_kept_and_tests_of_the_function_are_not():
    parsed, priority = program_of("""
TABLE = {}
for i in range(3):
    TABLE[i] = i * i

def fill():
    TABLE[9] = 81

fill()
print(TABLE)
fill(priority_v2(1, 2))
if __name__ == "__main__":
    TABLE.clear()

def priority_v2(el, n):
    return TABLE[n]
""")
    assert priority(0, 2) == 4
    assert priority(0, 9) == 81
    for absent in ("print", "priority(1", "clear"):
        assert absent not in parsed


def test_decorators_of_helpers_and_of_the_function_are_kept():
    completion = """
@functools.lru_cache(maxsize=None)
def cost(n):
    return n if n < 2 else cost(n - 1) + cost(n - 2)

@functools.cache
def priority_v2(vector, n):
    \"\"\"Improved version of `priority_v1`.\"\"\"
    return [cost(n), priority_v2(vector, n - 1) if n else None]
"""
    parsed, priority = program_of(completion)
    assert parsed.startswith("import functools\n\n\n@functools.lru_cache(maxsize=None)\ndef cost(n):")
    assert parsed.endswith("def priority(el, n):\n    return _priority(el, n)")
    assert priority(0, 90)[0] == 2880067194370816120
    assert priority(0, 90) is priority(0, 90)


def test_a_module_of_the_standard_library_that_is_used_is_imported():
    specification = read_specification(SPECIFICATION.text.replace("import math\n", ""), "s.py")
    parsed = parse("def priority_v2(el, n):\n    return math.sqrt(el) + os(n) + code", specification, 2, "")
    assert parsed.body == "import math\nreturn math.sqrt(el) + os(n) + code"
    for used in (
        "def priority_v2(random, n):\n    return random.x",
        "def priority_v2(el, n):\n    time = n\n    return time.x",
    ):
        assert "import" not in parse(used, specification, 2, "").body


def test_what_the_shown_version_has_beside_it_need_not_be_written_again():
    base = program_of(
        "STEP = 2\n\ndef twice(x):\n    return x * STEP\n\ndef priority_v2(el, n):\n    return twice(el)"
    )[0]
    parsed, priority = program_of("def priority_v2(el, n):\n    return twice(n) + 1", base)
    assert SPECIFICATION.beside(parsed) == SPECIFICATION.beside(base)
    assert priority(0, 4) == 9
    parsed, priority = program_of("STEP = 3\n\ndef priority_v2(el, n):\n    return twice(n) + 1", base)
    assert "STEP = 2" not in parsed
    assert priority(0, 4) == 13
    assert program_of("def priority_v2(el, n):\n    return n", base)[0] == "return n"


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_a_prompt_shows_what_is_beside_a_function_and_the_built_in_model_keeps_it(style: Literal["chat", "completion"]):
    base = program_of(
        "STEP = 2\n\ndef twice(x):\n    return x * STEP\n\ndef priority_v2(el, n):\n    return twice(el) + n"
    )[0]
    prompt = render(SPECIFICATION, PromptContent((SPECIFICATION.start_body, base)), Model(name="m", style=style))
    assert "STEP = 2\n\n\ndef twice(x):\n    return x * STEP\n\n\ndef priority_v1(el, n):" in prompt
    children = [parse(mutate(prompt, seed), SPECIFICATION, 2, base) for seed in range(30)]
    bodies = [child.body for child in children if child.verdict is None]
    assert len(bodies) > 25
    assert any("twice(" in SPECIFICATION.split(body)[0] and body != base for body in bodies)
    assert all(SPECIFICATION.beside(body) for body in bodies if "twice(" in SPECIFICATION.split(body)[0])


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ("def helper(x):\n    return x + 100", "`helper` is something else in the problem's file"),
        ("from os import *", "`from os import *` is not kept"),
        ("priority_v2.cache = {}", "`priority.cache = …` beside the function is not kept"),
    ],
)
def test_what_would_mean_something_else_in_the_program_is_refused_with_the_reason(beside: str, expected: str):
    assert refusal(f"{beside}\n\ndef priority_v2(el, n):\n    return helper(el)").startswith(expected)


def test_a_name_of_python_that_the_scoring_uses_is_refused_and_an_echo_of_the_file_is_not():
    specification = read_specification(
        SPECIFICATION.text.replace("return priority(n, 1)", "return max(priority(n, 1), 0)"), "s.py"
    )
    hides = "def max(a, b):\n    return b\n\ndef priority_v2(el, n):\n    return max(el, n)"
    refused = parse(hides, specification, 2, "").verdict
    assert refused is not None
    assert refused.error == "`max` is Python's own in the problem's file: give it another name"
    assert parse(hides, SPECIFICATION, 2, "").verdict is None
    assert (
        body("import math\ndef helper(x): return x\n\ndef priority_v2(el, n):\n    return helper(el)")
        == "return helper(el)"
    )


@pytest.mark.parametrize(
    ("completion", "error"),
    [
        ("```python\ndef priority_v2(el, n):\n    return -(el - n\n```", "SyntaxError, line 2: '(' was never closed"),
        (
            "So:\n```python\nimport math\n\ndef priority_v2(el, n):\n    n = 1\n    if n\n        return 1\n```",
            "SyntaxError, line 5: expected ':'",
        ),
        ("def priority_v2(el, n):\n    rest = el\n    return -(rest", "SyntaxError, line 3: '(' was never closed"),
    ],
)
def test_a_syntax_error_is_told_with_its_line_and_no_part_before_it_is_taken(completion: str, error: str):
    parsed = parse(completion, SPECIFICATION, 2, "")
    assert parsed.verdict is not None
    assert parsed.verdict.error == error


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
