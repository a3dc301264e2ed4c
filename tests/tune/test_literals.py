"""Which numbers of a text may be tuned, and that replacing them changes nothing else."""

from __future__ import annotations

import ast
import io
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.tune.literals import find_literals, number_text, replace_literals


def found(text: str, *sizes: float) -> list[str]:
    literals = find_literals(text, [(0, len(text))], sizes)
    return [text[one.start : one.end] for one in literals]


@pytest.mark.filterwarnings("ignore:invalid decimal literal")
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("x = 0.5 * y + 12", ["0.5", "12"]),
        ("return -2.5e-3 * x", ["2.5e-3"]),
        ("x = 1_000.5 + 0x1f", ["1_000.5", "0x1f"]),
        ("é = 'ü' + f(0.25)", ["0.25"]),
        ("x = a[3] + a[1:-2, int(0.3 * n)]", ["0.3"]),
        ("x = np.zeros((4, 7)) + np.full(5, 6)", ["6"]),
        ("for i in range(10): s.update(i, 3)", ["3"]),
        ("x = np.sum(y, axis=1) * 3", ["3"]),
        ("x = y ** 2 + y ** 0.5 + y ** -2 + y ** 3", ["3"]),
        ("x = y > 0 and z == 1 and 1.0 < w < 5", ["5"]),
        ("i += 1\nj = i + 1 - k\nw = 1 / i", ["1"]),
        ("rng = random.Random(42)\nx = rng.random() * 7", ["7"]),
        ("x = round(y, 3) + 1 << 4", []),
        ("x = (y > 6) & (y < 24) | z & 7", ["6", "24"]),
        ("x: Literal[3] = 4\ndef f(a: 5 = 6) -> 7: pass", ["4", "6"]),
        ("match x:\n    case 3: y = 5", ["5"]),
        ("x = f'{0.5 * y:.3f}' + 8", ["8"]),
        ("x = True + 0 + 0.0 + 2j + 1e999 + 10**10", ["10", "10"]),
        ("x = 3if y else 4", ["4"]),
        ("x = 10000000000", []),
        ("def broken(:\n    return 5", []),
        ("x = 5\r\ny = 6", []),
    ],
)
def test_the_numbers_that_may_be_tuned(text: str, numbers: list[str]):
    assert found(text) == numbers


def test_a_size_of_the_problem_stays_unless_a_constant_in_capitals_has_it():
    assert found("x = 500 * y\nz = 500.0 + 6", 500, 6) == ["500.0", "6"]
    assert found("LIMIT, n = 500, 500", 500) == ["500"]


def test_numbers_outside_of_what_evolves_stay():
    text = "a = 1.5\nb = 2.5\n"
    assert [one.value for one in find_literals(text, [(8, 15)])] == [2.5]


@pytest.mark.parametrize(
    ("text", "is_probability"),
    [
        ("p = 0.3", True),
        ("f(mutation_rate=0.3)", True),
        ("def f(decay=0.9): pass", True),
        ("if rng.random() < 0.3: pass", True),
        ("weight = 0.3", False),
        ("rate = 3.5", False),
        ("step = 0.3", False),
    ],
)
def test_probabilities_are_known_by_their_names_and_by_what_they_are_compared_with(text: str, is_probability: bool):
    (one,) = find_literals(text, [(0, len(text))])
    assert one.is_probability is is_probability


LINES = st.sampled_from(
    ["x = {} * y", "if x > {}: y = -{}", "é = g('{} ü 3.5', {})  # {}", 'w = """\n{}\n""" + str({})', "z = [{}, {}]\n"]
)
NUMBERS = st.one_of(st.integers(2, 10**6), st.floats(1e-6, 0.99), st.floats(1.5, 1e6)).map(repr)
TEXTS = st.lists(st.tuples(LINES, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6).map(
    lambda lines: "\n".join(line.format(*numbers) for line, *numbers in lines)
)


def tokens(text: str) -> list[str]:
    read = tokenize.generate_tokens(io.StringIO(text).readline)
    return ["number" if one.type == tokenize.NUMBER else one.string for one in read]


@given(TEXTS, st.data())
def test_replacing_changes_only_the_numbers(text: str, data: st.DataObject):
    literals = find_literals(text, [(0, len(text))])
    assert replace_literals(text, {one: text[one.start : one.end] for one in literals}) == text
    new = {one: data.draw(NUMBERS) for one in literals}
    changed = replace_literals(text, new)
    assert tokens(changed) == tokens(text)
    again = find_literals(changed, [(0, len(changed))])
    assert [changed[one.start : one.end] for one in again] == [new[one] for one in literals]


@given(st.one_of(st.integers(1, 10**9), st.floats(1e-12, 1e12)), st.integers(1, 17))
def test_a_number_keeps_its_type_and_nearly_its_value(value: float, digits: int):
    text = number_text(value, digits)
    written = eval(text)
    assert type(written) is type(value)
    assert written == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))
    assert number_text(value) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 100 + "1" + " & 2)" * 100,
        "x = " + "range(" * 80 + "5" + ")" * 80,
        "x = " + "a[" * 80 + "5" + "]" * 80,
        "x = " + "a[f(" * 40 + "5" + ")]" * 40,
    ],
    ids=["bit operations", "sizes", "indices", "both"],
)
def test_nested_text_is_read_in_time_that_grows_with_its_length(text: str, monkeypatch: pytest.MonkeyPatch):
    nodes, children = len(list(ast.walk(ast.parse(text)))), ast.iter_child_nodes
    visited = list[ast.AST]()
    monkeypatch.setattr(ast, "iter_child_nodes", lambda node: visited.append(node) or children(node))
    assert found(text) == []
    assert len(visited) < 10 * nodes
