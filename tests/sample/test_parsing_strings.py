"""A program computes what the model answered, with all strings in it, and bodies that were right are as they were."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.codecs.functions import parse

TEMPLATE = """@funsearch.run
def evaluate(n):
{0}return priority(n)

@funsearch.evolve
def priority(n):
{1}{0}return 0

{2}def other(n):
{0}return [n]
"""


def read(indentation: str = "    ", *, docstring: bool = True, several: bool = False) -> Specification:
    doc = f'{indentation}"""Doc.\n\n{indentation}More."""\n' if docstring else ""
    return read_specification(TEMPLATE.format(indentation, doc, "@funsearch.evolve\n" * several), "mine.py")


SPECIFICATIONS = [
    read(indentation, docstring=docstring, several=several)
    for indentation in ("    ", "  ", "\t")
    for docstring in (False, True)
    for several in (False, True)
]
OF_ONE_FUNCTION = [each for each in SPECIFICATIONS if len(each.functions) == 1]


def value(text: str, name: str) -> Any:
    """Return the value of a function of one argument in a text with or without marks."""
    scope: dict[str, Any] = {}
    marks = "class funsearch:\n    run = evolve = staticmethod(lambda f: f)\n"
    exec(compile(marks + text, "program", "exec"), scope)
    return scope[name](3)


def body_of(answer: str, specification: Specification) -> str:
    parsed = parse(answer, specification, 1, "")
    assert parsed.verdict is None, parsed.verdict
    return parsed.body


def require_value(answer: str, expected: Any, specification: Specification) -> None:
    """Check that the program of an answer computes a value."""
    program = specification.program(body_of(answer, specification)).main
    assert value(program, "evaluate") == expected


STATEMENTS = [
    'grid = """\n0110\n1001"""\nout.append(grid)',
    'out.append("a\tb")',
    'table = """1\t2\n    3\t4\n    \n\tend"""\nout.append(table.split("\t"))',
    "out.append(r'''a\n\\d\t\n  b''')",
    'out.append(f"""{n}\n  {n + 1}\t.""")',
    'out.append(b"""x\n  y""")',
    'out.append("a\u2028b\x85c\x0bd")  # e\u2028f',
    'out.append("a\\\n    b")',
    "\x0c",
    'def helper(x):\n    """Do.\n\n      More.\n    """\n    return x\n\nout.append(helper(n))',
    "out.append(n + \\\n  2)",
    "# a comment\there",
    "out.append(n\t+ 1)\t# more",
    '"""A block\n  comment."""',
    "if n:\n    out.append(4)\n\n    # why\n    out.append(5)",
    "out.append(6); \\\n",
]
CODE = st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4).map(
    lambda parts: "\n".join(["out = []", *parts, "out = out"])
)


def indented(code: str, indentation: str) -> str:
    """Indent code, but no line that begins in a string."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            inside.update(range(node.lineno + 1, (node.end_lineno or 0) + 1))
    lines = enumerate(code.split("\n"), start=1)
    return "\n".join(line if number in inside or not line.strip() else indentation + line for number, line in lines)


@given(CODE, st.sampled_from(["    ", "  ", "\t"]), st.booleans(), st.sampled_from(SPECIFICATIONS))
def test_a_program_computes_what_the_function_in_the_answer_does(
    code: str, indentation: str, fenced: bool, specification: Specification
):
    function = f"def priority_v1(n):\n{indented(code, indentation)}\n{indentation}return out\n"
    answer = f"```python\n{function}```" if fenced else function
    require_value(answer, value(function, "priority_v1"), specification)


@given(CODE.filter(lambda code: "def " not in code), st.sampled_from(OF_ONE_FUNCTION))
def test_a_program_computes_what_a_body_without_a_header_does(code: str, specification: Specification):
    function = f"def f(n):\n{indented(code, '    ')}\n    return out\n"
    require_value(f"```python\n{code}\nreturn out\n```", value(function, "f"), specification)


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize("constant", ['"""\n0110\n  1001"""', '"""a\tb"""', 'f"""\n {1}"""'])
def test_constants_and_helpers_of_the_answer_keep_their_strings(constant: str, specification: Specification):
    answer = f"GRID = {constant}\n\ndef own():\n    return GRID + '''\n'''\n\ndef priority_v1(n):\n    return own()\n"
    require_value(answer, value(answer, "priority_v1"), specification)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ('def priority_v1(n):\n    s = """\n      a\n\n    b"""\n    return s\n', 's = """\n  a\n\nb"""\nreturn s'),
        ("def priority_v1(n):\n\tx\t= n\t# why\n\treturn x\n", "x   = n # why\nreturn x"),
        (
            'def priority_v1(n):\n    def h():\n        """Do.\n\n        More."""\n    return h',
            'def h():\n    """Do.\n\n    More."""\nreturn h',
        ),
    ],
)
def test_bodies_that_were_right_are_as_they_were(answer: str, body: str):
    assert body_of(answer, read()) == body
