"""Pruning of a program by an oracle: what is left is enough for it, and nothing of that can go."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.skeleton import Skeleton
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.marked_file import read_marked
from overnight.tasks.program.python_source import functions
from overnight.tasks.program.specification import Specification
from overnight.tasks.tune.bodies import parts_of
from overnight.tasks.tune.pruning import Pruning
from overnight.tasks.tune.python_edits import PythonText

SPECIFICATIONS = Path(__file__).parents[1] / "specifications"
TOY = load_problem(SPECIFICATIONS / "toy.py").specification
SEVERAL = cast("Specification", load_problem(SPECIFICATIONS / "several.py").specification)

EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "keep", "1", "0.123456", "items[0]"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["{} + {}", "{} * ({})", "({}) and {}", "max({}, {})", "({}, {})"]), inner, inner),
        st.tuples(st.sampled_from(["(not ({}))", "-({})", "abs({})", "[x for x in b if {}]"]), inner),
    ).map(lambda parts: parts[0].format(*parts[1:])),
    max_leaves=6,
)
STATEMENTS = st.recursive(
    EXPRESSIONS.flatmap(
        lambda e: st.sampled_from([f"a = {e}", f"return {e}", f"use({e})  # why", "pass", f"a += {e}"])
    ),
    lambda inner: st.tuples(
        st.sampled_from(
            [
                "if {0}:\n{1}",
                "if {0}:\n{1}\nelif b:\n{2}\nelse:\n{1}",
                "for a in {0}:\n{1}",
                "while {0}:\n{1}\nelse:\n{2}",
                "try:\n{1}\nfinally:\n{2}",
                "# a comment\nwith {0}:\n{1}",
                "def helper(a):\n{1}",
            ]
        ),
        EXPRESSIONS,
        st.lists(inner, min_size=1, max_size=3),
        inner,
    ).map(lambda parts: parts[0].format(parts[1], indented("\n".join(parts[2])), indented(parts[3]))),
    max_leaves=8,
)
PROGRAMS = st.lists(STATEMENTS, min_size=1, max_size=5).map("\n".join)


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


def names(body: str) -> list[str]:
    return [node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)]


def pruned(body: str, wanted: int, *, limit: int = 10_000, width: int = 1, skeleton: Skeleton = TOY) -> Pruning:
    """Prune a program as far as `keep` is in it so many times; every candidate must be Python."""

    def keeps(bodies: Sequence[str]) -> list[bool]:
        for one in bodies:
            ast.parse(one)
        return [names(one).count("keep") >= wanted for one in bodies]

    pruning = Pruning(skeleton, body, keeps, skeleton.code_hash, limit, width)
    pruning.run()
    return pruning


@given(PROGRAMS, st.integers(1, 4))
def test_what_is_left_is_enough_and_no_step_can_be_made(body: str, width: int):
    wanted = names(body).count("keep")
    pruning = pruned(body, wanted, width=width)
    assert names(pruning.body).count("keep") == wanted
    text = PythonText(pruning.body, ((0, len(pruning.body)),))
    for step in text.steps():
        for form in step():
            after = PythonText(form, ())
            is_smaller = after.size < text.size and not after.unbound - text.unbound
            assert not is_smaller or names(form).count("keep") < wanted
    if not wanted:
        assert text.size <= PythonText("pass", ()).size


@given(PROGRAMS, st.integers(1, 4))
def test_the_number_of_slots_changes_nothing_but_the_evaluations(body: str, width: int):
    wanted = names(body).count("keep")
    assert pruned(body, wanted, width=width).body == pruned(body, wanted).body


@given(PROGRAMS, st.integers(0, 12), st.integers(1, 4))
def test_no_more_is_evaluated_than_is_allowed(body: str, limit: int, width: int):
    wanted = names(body).count("keep")
    pruning = pruned(body, wanted, limit=limit, width=width)
    assert pruning.used <= limit
    assert names(pruning.body).count("keep") == wanted


def test_nothing_is_evaluated_twice():
    seen = list[str]()

    def keeps(bodies: Sequence[str]) -> list[bool]:
        seen.extend(map(TOY.meaning_hash, bodies))
        return [False] * len(bodies)

    pruning = Pruning(TOY, "a = b\npass\nx = a + b\nreturn a + b", keeps, TOY.meaning_hash, 1000, 3)
    pruning.run()
    assert len(seen) == len(set(seen)) == pruning.used
    assert pruning.body == "a = b\nx = a + b\nreturn a + b", "what means the same needs no evaluation"


CASES = {
    "the arm that counts": ("if a:\n    return keep\nelse:\n    return b", "return keep"),
    "an arm with another after it": (
        "if a:\n    b = 1\nelif b:\n    # why\n    return keep",
        "# why\nreturn keep",
    ),
    "a loop": ("while a:\n    b = keep", "b = keep"),
    "operands": ("return max(a + keep * 2, b)", "return keep"),
    "no bound, which other inputs may need": ("return max(1.0, a, keep)", "return max(1.0, a, keep)"),
    "parentheses": ("return (a + keep) * 2", "return keep"),
    "conditions": ("return not (keep and b)", "return keep"),
    "digits": ("return keep, 0.25", "return keep"),
    "what is not used": ("import math\ndef helper(x):\n    return x\nc = helper(a)\nreturn keep", "return keep"),
    "statements of one line": ("a = 1; return keep", "return keep"),
    "the last statement of a line": ("return keep; a = 1", "return keep"),
    "what is done at last": (
        "try:\n    a = 1\nexcept ValueError:\n    a = 2\nfinally:\n    # why\n    b = keep",
        "# why\nb = keep",
    ),
    "a comment at the end of a block": ("if a > 3:\n    b = 1\n    # of the block\nreturn keep", "return keep"),
    "a comment at the end of an arm": ("if a > 3:\n    return keep\n    # of the arm", "return keep\n# of the arm"),
    "a decorator": ("@b\ndef helper():\n    pass\nreturn keep", "return keep"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_winner_is_what_one_would_have_written(name: str):
    before, after = CASES[name]
    assert pruned(before, 1).body == after


def test_digits_are_left_out_while_the_rest_is_needed():
    def keeps(bodies: Sequence[str]) -> list[bool]:
        return [abs(float(one.removeprefix("return keep * ")) - 0.73) < 0.002 for one in bodies if "keep *" in one] or [
            False
        ] * len(bodies)

    pruning = Pruning(TOY, "return keep * 0.7312345", keeps, TOY.code_hash, 100)
    pruning.run()
    assert pruning.body == "return keep * 0.73"


ODD = {
    "rate = 0.31830988\nreturn keep * rate": "keep * 0.3",
    "return max(keep(*pair) for pair in ((4, 2), (3, 1)))": "),)",
    "return keep(\n    first,\n    second,\n    third,\n)": "(first, second",
}


@pytest.mark.parametrize("text", ODD)
def test_no_form_is_odder_or_has_a_longer_line_than_what_it_leaves_out(text: str):
    forms = [form for step in PythonText(text, ((0, len(text)),)).steps() for form in step()]
    assert forms
    assert not [form for form in forms if ODD[text] in form]


def test_lines_are_those_of_the_parser():
    text = "if a:\n    b = 'one\x0b    two\u2028    three'\n    return keep, b"
    assert pruned(text, 1).body == "return keep"
    forms = [form for step in PythonText(text, ((0, len(text)),)).steps() for form in step()]
    assert "b = 'one\x0b    two\u2028    three'\nreturn keep, b" in forms


UNBOUND = {
    "if a:\n    x = 1\nelse:\n    x = 2\nreturn x": (),
    "if a:\n    x = 1\nreturn x": ("x",),
    "if a:\n    return 1\nelse:\n    x = 2\nreturn x": (),
    "for i in [1]:\n    x = i\nreturn x": (),
    "while 1:\n    y = x\n    x = 1\nreturn y": ("x",),
    "x += 1": ("x",),
    "try:\n    x = 1\nexcept ValueError as e:\n    print(e)\nreturn x": ("x", "ValueError", "print"),
    "try:\n    x = 1\nexcept ValueError:\n    raise\nfinally:\n    y = 1\nreturn x, y": ("ValueError",),
    "with a as x:\n    y = x\nreturn y": (),
    "match a:\n    case [x, *y]:\n        z = x, y\n    case _:\n        z = x\nreturn z": ("x",),
    "match a:\n    case 1:\n        z = 1\nreturn z": ("z",),
    "def f(p, *q, r=1, **s):\n    return p, q, r, s, later\nlater = 1\nreturn f": (),
    "def f():\n    if a:\n        x = 1\n    return x\nx = 1\nreturn f": ("x",),
    "class C(a):\n    x = 1\n    y = x\nreturn C": (),
    "return [i + j for i in a for j in a if (k := i)], (lambda v: v)(1), k": (),
    "x = 1\ndel x\nreturn x": ("x",),
}


@pytest.mark.parametrize("body", UNBOUND)
def test_a_name_is_unbound_where_a_path_reads_it_before_it_is_bound(body: str):
    assert PythonText(f"a = 1\n{body}", ()).unbound == set(UNBOUND[body])


@given(st.integers(0, 30))
def test_what_a_limit_leaves_binds_what_it_reads(limit: int):
    body = (
        "if items[0] > 100:\n    scale = 2\n    print(scale)\nelif items[1] > 200:\n    scale = 3\n"
        "else:\n    scale = 1\ntotal = 0\nfor x in items:\n    total += x * scale\nreturn total"
    )

    def value(text: str, items: list[int]) -> int:
        space: dict[str, Any] = {"print": len}
        exec(f"def f(items):\n{indented(text)}", space)
        return space["f"](items)

    def keeps(bodies: Sequence[str]) -> list[bool]:
        kept = list[bool]()
        for one in bodies:
            try:
                kept.append(value(one, [3, 5]) == 8)
            except Exception:  # noqa: BLE001  (a form may raise anything)
                kept.append(False)
        return kept

    pruning = Pruning(TOY, body.replace("    print(scale)\n", ""), keeps, TOY.code_hash, limit)
    pruning.run()
    for items in ([101, 2], [3, 201], [3, 5]):
        assert value(pruning.body, items) > 0


def test_every_candidate_is_asked_for_leave_and_tables_have_none():
    class Over(Exception):
        pass

    asked = list[None]()

    def check() -> None:
        asked.append(None)
        if len(asked) == 7:
            raise Over

    lines = "\n".join(f"x{i} = items[0]" for i in range(9))
    pruning = Pruning(
        TOY, f"{lines}\nreturn x0", lambda bodies: [False] * len(bodies), TOY.code_hash, 1000, check=check
    )
    with pytest.raises(Over):
        pruning.run()
    assert len(asked) == 7
    table = f"table = [{', '.join(['[0.123456, -2.5]'] * 50)}]\nreturn table"
    steps = [form for step in PythonText(table, ((0, len(table)),)).steps() for form in step()]
    assert all("0.123456" in form or "table = " not in form for form in steps)
    assert len(steps) < 10


def test_headers_and_other_languages_stay():
    assert isinstance(SEVERAL, Specification)
    body = SEVERAL.join(
        ["a = 1\nreturn keep", *["b = 2\nreturn 3"] * (len(SEVERAL.functions) - 1)], "import math\nx = 1"
    )
    pruning = pruned(body, 1, skeleton=SEVERAL)
    assert [function.name for function in functions(ast.parse(pruning.body))] == list(SEVERAL.evolved)
    files = EvolvingFiles(
        (
            read_marked("# EVOLVE-BLOCK-START\na = 1\n# EVOLVE-BLOCK-END\nfixed = 9\n", "a.py"),
            read_marked("some text\n", "c.txt"),
        )
    )
    body = files.join({"a.py": "a = 1\nkeep = keep + 2", "c.txt": "some text\n"})
    judged = list[str]()

    def keeps(bodies: Sequence[str]) -> list[bool]:
        judged.extend(bodies)
        return ["keep = keep" in one for one in bodies]

    pruning = Pruning(files, body, keeps, files.code_hash, 100)
    pruning.run()
    assert files.split(pruning.body) == {"a.py": "keep = keep", "c.txt": "some text\n"}
    text = read_marked("line one\nline two\n", "notes.txt")
    assert not parts_of(text, "line one\nline two\n")
    pruning = pruned("line one\nline two\n", 0, skeleton=text)
    assert (pruning.used, pruning.body) == (0, "line one\nline two\n")
