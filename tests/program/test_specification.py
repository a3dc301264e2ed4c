"""A specification is parsed with `ast`, kept verbatim except for the evolved body, and refused with line and remedy."""

from __future__ import annotations

import ast
import builtins
import symtable
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.errors import SpecificationError
from overnight.schemas.problem import INPUT_FUNCTION
from overnight.tasks.problems import find
from overnight.tasks.program.python_source import bound_names
from overnight.tasks.program.read_specification import read_specification

TWO_SPACES = '''"""Finds things."""
import itertools
# a comment that stays
LIMIT = 3

@funsearch.run
def evaluate(n: int, w: int = 2) -> float:
  return priority(n)  # and this one


@other.decorator
@funsearch.evolve
def priority(n: int,
             m=(1, 2),
             ) -> float:
  """Scores `n`.

  More words.
  """
  # why
  return 0.0


AFTER = 4
'''


def read(text: str):
    return read_specification(textwrap.dedent(text), "mine.py")


def test_names_parameters_and_arity_are_read():
    specification = read(TWO_SPACES)
    assert (specification.evolved, specification.run) == (("priority",), "evaluate")
    assert specification.functions[0].parameters == ("n", "m")
    assert specification.run_arity == (1, 2)
    assert specification.start_body == "# why\nreturn 0.0"


def test_only_the_body_changes_and_the_indentation_is_kept():
    changed = read(TWO_SPACES).with_body("x = n\nif x:\n    return 1.0\nreturn 2.0")
    assert "  x = n\n  if x:\n      return 1.0\n  return 2.0\n" in changed
    for kept in ("# a comment that stays", "AFTER = 4", "@other.decorator", "# and this one", "More words."):
        assert kept in changed
    ast.parse(changed)


def test_the_preface_has_the_docstring_imports_and_constants_but_no_functions_or_settings():
    preface = read("# /// script\n# [tool.overnight]\n# held_out = [7]\n# ///\nimport funsearch\n" + TWO_SPACES).preface
    assert "itertools" in preface
    assert "LIMIT = 3" in preface
    assert "AFTER = 4" in preface
    for hidden in ("evaluate", "held_out", "funsearch", "priority"):
        assert hidden not in preface


def test_the_preface_has_the_classes_of_arguments_and_no_other():
    text = """\
        import funsearch
        from dataclasses import dataclass

        class Scoring: pass

        class Operation:
            due: float

        @dataclass
        class Machine:
            queue: list[Operation]

        @funsearch.run
        def evaluate(n): return n

        @funsearch.evolve
        def rank(machine: "Machine") -> float: return 0.0
    """
    for preface in (read(text).preface, read(text).preface_of_facts):
        assert "@dataclass\nclass Machine:\n    queue: list[Operation]" in preface
        assert "class Operation:" in preface
        assert "Scoring" not in preface


@pytest.mark.parametrize(
    "marks",
    [
        "@funsearch.{}",
        "@funsearch.{}()",
        "@{}",
        "# @funsearch.{}",  # as in the notebooks that DeepMind published
    ],
)
def test_marks_are_found_with_and_without_import(marks: str):
    imports = "from funsearch import evolve, run\n" if marks == "@{}" else ""
    text = (
        f"{imports}{marks.format('run')}\ndef e(n):\n  return p(n)\n\n{marks.format('evolve')}\ndef p(n):\n  return 0\n"
    )
    assert read(text).evolved == ("p",)


def test_a_one_line_function_and_one_without_docstring_can_be_evolved():
    specification = read("@funsearch.run\ndef e(n): return p(n)\n@funsearch.evolve\ndef p(n): return n\nZ = 1\n")
    assert specification.start_body == "return n"
    changed = specification.with_body("y = n\nreturn y")
    assert ast.parse(changed)
    assert "y = n" in changed
    assert "Z = 1" in changed


def test_the_start_body_of_a_function_with_only_a_docstring_is_pass():
    specification = read(
        '@funsearch.run\ndef e(n):\n  return 1\n@funsearch.evolve\ndef p(n):\n  """To be written."""\n'
    )
    assert specification.start_body == "pass"
    assert "return 3" in specification.with_body("return 3")


MINIMAL = "@funsearch.run\ndef e(n): return p(n)\n@funsearch.evolve\ndef p(n): return n\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@funsearch.run\ndef e(n): return 1\n", "@funsearch.evolve is missing"),
        ("@funsearch.run\ndef e(n): return 1\n@funsearch.evolved\ndef p(n): return n\n", "no `@funsearch.evolved`"),
        ("@funsearch.evolve\ndef p(n): return 1\n", "@funsearch.run is missing"),
        ("def p(n): return 1\n", "@funsearch.evolve is missing"),
        (MINIMAL.replace("def", "async def"), "mine.py:2: @funsearch.run is on `e`, an `async def`"),
        ("import funsearch as fs\n" + MINIMAL.replace("funsearch", "fs"), "mine.py:1: `funsearch` is imported as `fs`"),
        (
            "from funsearch import run as r\n" + MINIMAL.replace("funsearch.run", "r"),
            "mine.py:1: `run` is imported as `r`",
        ),
        (TWO_SPACES + "\n@funsearch.run\ndef q(n): return 1\n", "is on 2 functions (lines 7 and 27)"),
        (TWO_SPACES + "\n@funsearch.evolve\ndef priority(n): return 1\n", "mine.py:27: `priority` is marked"),
        ("def p(:\n", "mine.py:1"),
        ("@funsearch.run\n@funsearch.evolve\ndef p(n): return 1\n", "marked both"),
        ("class A:\n  @funsearch.evolve\n  def p(n): return 1\n@funsearch.run\ndef e(n): return 1\n", "another block"),
        (f"{MINIMAL}@funsearch.draw\ndef d(n): ...\n@funsearch.draw\ndef c(n): ...\n", "draw is on 2 functions"),
        (f"{MINIMAL}@funsearch.draw\ndef d(n, m): ...\n", "does not take as many arguments as `e`"),
        (MINIMAL.replace("@funsearch.run", "@funsearch.draw\n@funsearch.run"), "`e`, which has another mark, too"),
        (f"{MINIMAL}@funsearch.inputs\ndef i(s, t): ...\n", "`i`, which does not take one argument, a seed"),
        (f"{MINIMAL}@funsearch.inputs\ndef i(s, *, t): ...\n", "`i`, which does not take one argument, a seed"),
        (f"{MINIMAL}@funsearch.inputs\n@funsearch.draw\ndef i(s): ...\n", "`i`, which has another mark, too"),
        (f"{MINIMAL}@funsearch.input\ndef i(s): ...\n", "there is no `@funsearch.input`"),
        (MINIMAL.replace("@funsearch.run", "@run"), "mine.py:2: `@run` is not defined"),
        ("from funsearch import run\n" + MINIMAL.replace("@funsearch.", "@"), "mine.py:5: `@evolve` is not defined"),
        ("x = " + "(" * 5000, "mine.py:"),
        ("\0", "mine.py:"),
    ],
)
def test_a_wrong_specification_is_refused_with_line_and_remedy(text: str, message: str):
    with pytest.raises(SpecificationError) as caught:
        read(text)
    assert message in caught.value.message
    assert caught.value.remedy


def test_one_function_may_return_an_input_for_a_seed():
    assert read(MINIMAL).generator == ""
    for marked in ("@funsearch.inputs\ndef i(s): return s\n", "# @funsearch.inputs\ndef i(s, *more): return s\n"):
        specification = read(MINIMAL + marked)
        assert specification.generator == "i"
        assert specification.preface == read(MINIMAL).preface
        marks = dict.fromkeys(("run", "evolve", "inputs"), lambda function: function)
        names: dict[str, Any] = {"funsearch": SimpleNamespace(**marks)}
        exec(specification.input_program(7), names)
        assert names[INPUT_FUNCTION]() == "7"


def test_one_function_may_draw_and_is_neither_needed_nor_shown_in_prompts():
    assert read(MINIMAL).draw == ""
    drawing = MINIMAL + "import funsearch.svg\nfrom funsearch import svg\n@funsearch.draw\ndef d(n): return '<svg/>'\n"
    assert read(drawing).draw == "d"
    assert read(drawing).preface == read(MINIMAL).preface
    assert read(MINIMAL + "# @funsearch.draw\ndef d(n): return '<svg/>'\n").draw == "d"


def test_if_both_marks_are_missing_the_remedy_names_both():
    with pytest.raises(SpecificationError) as caught:
        read("def p(n): return 1\n")
    assert "`@funsearch.evolve` above" in caught.value.remedy
    assert "`@funsearch.run` above" in caught.value.remedy


BODIES = st.lists(
    st.sampled_from(["x = n", "return n", "for i in range(3):\n    x = i", "# a comment\nx = 1", 'x = """a\n  b"""']),
    min_size=1,
    max_size=5,
).map("\n".join)


@given(BODIES)
def test_a_program_with_any_valid_body_can_be_read_again(body: str):
    specification = read(TWO_SPACES)
    program = specification.with_body(body)
    again = read_specification(program, "again.py")
    assert again.with_body(again.start_body) == program


RUN = "@funsearch.run\ndef evaluate(n): return priority(n)\n\n@funsearch.evolve\n"


def values(text: str, *bodies: str) -> list[object]:
    """Return the value of the file, and of its programs with other bodies."""
    specification = read_specification(text, "mine.py")
    found = []
    for program in (text, *map(specification.with_body, bodies or (specification.start_body,))):
        scope: dict[str, object] = {}
        exec("class funsearch:\n    run = evolve = staticmethod(lambda f: f)\n" + program, scope)
        found.append(eval("evaluate(3)", scope))
    return found


STRINGS = "    s = '''a\n  b\n\tc\n    \n'''\n    return s + 'd\te'\n"


@pytest.mark.parametrize(
    "function",
    [
        f"def priority(n):\n{STRINGS}",
        f'def priority(n):\n    """Doc."""\n{STRINGS}',
        f"def priority(n):\n  '''Doc.\n\n  More.'''\n  if n:\n{STRINGS}",
        f'def priority(n):\n    """Doc.""" # why\n    def own(x):\n        """Do.\n\n    Less."""\n{STRINGS}',
        'def priority(n):\n    """Doc."""\n    x = n \\\n  + 1\n    return x\n',
        'def priority(n):\n    """Doc."""\n    return n + 1; \\\n\n\n',
        'def priority(n):\n    """Doc."""; n = n + 1\n    return n\n',
        'def priority(n):\n    """Doc."""; return n\n',
    ],
)
def test_a_program_with_the_start_body_computes_what_the_file_does(function: str):
    first, second = values(RUN + function)
    assert first == second
    assert read_specification(RUN + function, "mine.py").keeps_start_program
    assert values(RUN + function, "n = n + 4\nreturn n")[1] == 7


@pytest.mark.parametrize("indentation", ["\t", "\t\t", " ", "  ", "   ", "        "])
@pytest.mark.parametrize("docstring", ["", '"""Doc."""', '"""Doc.\n\n\tMore."""'])
def test_a_function_may_be_indented_by_anything(indentation: str, docstring: str):
    body = "".join(
        f"{indentation}{line}\n" for line in (docstring, f"if n:\n{indentation * 2}n += 1", "return n") if line
    )
    assert values(f"{RUN}def priority(n):\n{body}") == [4, 4]
    assert values(f"{RUN}def priority(n):\n{body}", "for i in range(n):\n    n += i\nreturn n") == [4, 6]


@pytest.mark.parametrize(
    ("function", "header"),
    [
        ("def priority(n): return max(n, 0)", "def priority(n):"),
        ("def priority(\n    n,\n): return n", "def priority(\n    n,\n):"),
        ('def priority(n) -> "a:b": return {1: n}[1]', 'def priority(n) -> "a:b":'),
        ("def priority(n): return [n, 2][0:1][0]", "def priority(n):"),
        ("def priority(n, key=lambda x: x): return {1: n}[1]", "def priority(n, key=lambda x: x):"),
        ("def priority(n): return [\n    n, 2\n][0]  # a: b:", "def priority(n):"),
        ("def priority(n):  # a: b\n    return n", "def priority(n):"),
        ("def priority(n):  # a\n    return n", "def priority(n):"),
        ("def priority(n):  # note:\n    return n", "def priority(n):  # note:"),
        (
            "def priority(n: int = {1: 2}[1],\n             ) -> int :\n    return n",
            "def priority(n: int = {1: 2}[1],\n             ) -> int :",
        ),
    ],
)
def test_a_header_ends_at_its_colon(function: str, header: str):
    text = f"{RUN}{function}\nZ = 1\n"
    assert read_specification(text, "mine.py").functions[0].header == header
    assert values(text) == [3, 3]
    assert values(text, "n = n + 1\nreturn n") == [3, 4]


@pytest.mark.parametrize("char", ["\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("docstring", ["", '    """Doc."""\n'])
def test_characters_that_end_no_line_of_python_move_nothing(char: str, docstring: str):
    ends = f"\n{char}\n" if char == "\f" else "\n"
    function = f'def priority(n):\n{docstring}    s = "{char}"{ends}    return s\n'
    text = f'{ends}NAME = "a{char}b"  # c{char}d{ends}{RUN}{function}'
    assert values(text) == [char, char]
    assert values(text, f"n = '{char}'  # {char}\nreturn n") == [char, char]


def test_the_start_body_of_a_specification_that_cannot_be_split_is_noticed():
    function = "def priority(n) -> lambda: 0: return n\n"
    assert not read_specification(RUN + function, "mine.py").keeps_start_program


def test_the_evolved_functions_stand_with_what_they_need_and_nothing_of_the_scoring():
    text = (
        '"""Double it."""\nimport functools\nimport math\nimport funsearch\nfrom score import one\n'
        "FACTOR = 2\nINPUTS = secret()\n"
        "def secret(): return [1]\n"
        "@functools.cache\ndef twice(x): return FACTOR * half(x)\n"
        "def half(x): return math.floor(x)\n"
        "@funsearch.run\ndef evaluate(n):\n    x = f(n)\n    return one(x)\n"
        "@funsearch.evolve\ndef f(x):\n    return twice(x)\n"
    )
    standalone = read_specification(text, "f").standalone_text("evaluate = twice(x)\nreturn evaluate")
    scope: dict[str, object] = {}
    exec(standalone, scope)
    assert scope["f"](3.5) == 6  # type: ignore[operator]
    assert not {"secret", "INPUTS", "one", "funsearch"} & scope.keys()
    assert "n)" not in standalone


def test_what_stands_beside_the_functions_is_defined_in_the_program_at_the_same_place_and_means_something_to_it():
    text = (
        '"""Double it."""\nimport funsearch\nSTARTS, STEPS = 3, 4\nMARGIN = 0.5\n"""What is taken off."""\nSPARE = 1\n'
        "def baseline(): return [half(1) for _ in range(STARTS * STEPS)]\n"
        "@funsearch.run\ndef evaluate(n): return half(f(n)) * MARGIN\n"
        "@funsearch.evolve\ndef f(x):\n    return late(x)\n"
        "def half(x): return x / 2\ndef late(x): return x + LAST\nLAST = 1\n"
    )
    specification = read_specification(text, "f")
    standalone = specification.standalone_text(specification.start_body)
    defined = [line.partition(" = ")[0] for line in standalone.splitlines() if line[:1].strip()]
    assert defined == [
        "MARGIN",
        '"""What is taken off."""',
        "SPARE",
        "def f(x):",
        "def late(x): return x + LAST",
        "LAST",
    ]
    told, hidden = specification.shared_names(standalone)
    assert told == ["LAST", "MARGIN", "SPARE", "late"]
    assert hidden == ["STARTS", "STEPS", "baseline", "evaluate", "half"]


@pytest.mark.parametrize("name", ["bin-packing-or", "sort3", "optimizer-rule", "matrix-multiplication"])
def test_a_problem_of_the_library_stands_by_itself(name: str):
    """All names in it are known."""
    specification = read_specification(find(name).read_text(), name)
    text = specification.standalone_text(specification.start_body)
    used = {
        symbol.get_name()
        for table in _tables(symtable.symtable(text, name, "exec"))
        for symbol in table.get_symbols()
        if symbol.is_global() and symbol.is_referenced()
    }
    assert used - bound_names(ast.parse(text)) - set(dir(builtins)) == set()
    assert f"def {specification.run}(" not in text


def _tables(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(below for child in table.get_children() for below in _tables(child))]
