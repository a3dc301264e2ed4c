"""Programs that differ in form alone have one hash; whatever might compute something else has another."""

from __future__ import annotations

import ast
import copy
import hashlib
import random
import symtable
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.program import python_source
from overnight.tasks.program.meaning import meaning_hash
from overnight.tasks.program.scopes import Names, Scope, owner_of, read_names


def in_function(body: str) -> str:
    return "def solve(items, limit):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")


def are_the_same(one: str, other: str) -> bool:
    return meaning_hash(in_function(one)) == meaning_hash(in_function(other))


SAME = {
    "layout and comments": ("return  max( items )  # the best", "return max(items)"),
    "a local variable": ("total = 0\ntotal += limit\nreturn total", "s = 0\ns += limit\nreturn s"),
    "several, in order of appearance": ("a, b = items\nreturn a - b", "x, y = items\nreturn x - y"),
    "a variable of a loop": ("for i in items:\n    print(i)", "for item in items:\n    print(item)"),
    "one of a comprehension": ("return [i for i in items if i]", "return [item for item in items if item]"),
    "one that is used twice": (
        "a = [i for i in items]\nb = [i for i in a]\nreturn b",
        "a = [i for i in items]\nb = [j for j in a]\nreturn b",
    ),
    "one of a nested function": (
        "def inner(x):\n    t = x + limit\n    return t\nreturn inner",
        "def inner(x):\n    result = x + limit\n    return result\nreturn inner",
    ),
    "one that a closure reads": (
        "t = limit\nreturn lambda x: x + t",
        "threshold = limit\nreturn lambda x: x + threshold",
    ),
    "an exception": (
        "try:\n    f()\nexcept ValueError as e:\n    raise KeyError from e",
        "try:\n    f()\nexcept ValueError as error:\n    raise KeyError from error",
    ),
    "an import": ("import math as m\nreturn m.pi", "import math\nreturn math.pi"),
    "a name of an import": ("from math import pi as p\nreturn p", "from math import pi\nreturn pi"),
    "a pattern": (
        "match items:\n    case [x, *rest]:\n        return x, rest",
        "match items:\n    case [a, *b]:\n        return a, b",
    ),
    "a walrus in a comprehension": (
        "ok = any((x := i) > 1 for i in items)\nreturn x, ok",
        "found = any((last := item) > 1 for item in items)\nreturn last, found",
    ),
    "an annotation": ("total: float = 0.0\nreturn total", "total = 0.0\nreturn total"),
    "a docstring": (
        'def inner():\n    """Help."""\n    return 1\nreturn inner()',
        "def inner():\n    return 1\nreturn inner()",
    ),
    "a lone literal": ("'note'\nreturn 1", "return 1"),
    "a literal's form": ("return 1e3 + 0x10", "return 1000.0 + 16"),
    "folded products": ("return limit * (2 * 3)", "return limit * 6"),
    "a folded sign": ("return -(2.5 * 2)", "return -5.0"),
    "numbers that are added": (
        "n = 0\nfor i in range(limit):\n    n = i + n\nreturn 1 + n",
        "n = 0\nfor i in range(limit):\n    n = n + i\nreturn n + 1",
    ),
    "parentheses": ("return (limit) + (1)", "return limit + 1"),
}

DIFFERENT = {
    "another global": ("return min(items)", "return max(items)"),
    "a global, another global": ("return WIDTH", "return HEIGHT"),
    "a parameter": ("items = sorted(items)\nreturn items", "limit = sorted(items)\nreturn limit"),
    "a parameter, a local variable": ("items = 1\nreturn items", "x = 1\nreturn x"),
    "a local variable, a global": ("x = 1\nreturn x", "x = 1\nreturn y"),
    "two variables, one": ("a = 1\nb = 2\nreturn a", "a = 1\na = 2\nreturn a"),
    "exchanged variables": ("a, b = items\nreturn a - b", "a, b = items\nreturn b - a"),
    "int and float": ("return 2 * 3", "return 6.0"),
    "1 and True": ("return 1", "return True"),
    "zero and minus zero": ("return 0.0", "return -0.0"),
    "rounding": ("return 0.1 + 0.2", "return 0.3"),
    "a text and a number": ("return '1'", "return 1"),
    "the order of texts": ("a = 'x'\nreturn a + limit", "a = 'x'\nreturn limit + a"),
    "the order of unknown things": ("return items + limit", "return limit + items"),
    "an unknown thing times 2": ("return limit * 2", "return 2 * limit"),
    "the order of three numbers": (
        "a, b, c = 0.1, 0.2, 0.3\nreturn (a + b) + c",
        "a, b, c = 0.1, 0.2, 0.3\nreturn a + (b + c)",
    ),
    "a difference": ("a, b = 1, 2\nreturn a - b", "a, b = 1, 2\nreturn b - a"),
    "a variable that is not always a number": (
        "a = 1\nif limit:\n    a = items\nreturn a + 1",
        "a = 1\nif limit:\n    a = items\nreturn 1 + a",
    ),
    "a range of one's own": (
        "def range(n):\n    return items\nfor i in range(limit):\n    print(i + 1)",
        "def range(n):\n    return items\nfor i in range(limit):\n    print(1 + i)",
    ),
    "an attribute": ("x = items\nreturn x.a", "x = items\nreturn x.b"),
    "a keyword": ("return f(a=1)", "return f(b=1)"),
    "a parameter of a nested function": (
        "def inner(a):\n    return a\nreturn inner",
        "def inner(b):\n    return b\nreturn inner",
    ),
    "a nested function": ("def g():\n    pass\nreturn g", "def h():\n    pass\nreturn h"),
    "a name that a text has": (
        "count = 1\nreturn frame.filter('count > @count')",
        "total = 1\nreturn frame.filter('count > @count')",
    ),
    "a name that a class has": (
        "width = 1\nclass Box:\n    width = 2\n    height = width\nreturn Box",
        "w = 1\nclass Box:\n    width = 2\n    height = w\nreturn Box",
    ),
    "an annotation in a class": ("class Box:\n    a: int = 1\nreturn Box", "class Box:\n    a = 1\nreturn Box"),
    "a shown name": ("a = 1\nreturn f'{a=}'", "b = 1\nreturn f'{b=}'"),
    "local and global": (
        "x = 1\ndef g():\n    global x\n    x = 2\ng()\nreturn x",
        "y = 1\ndef g():\n    global x\n    x = 2\ng()\nreturn y",
    ),
    "local and nonlocal": (
        "x = 1\ndef g():\n    nonlocal x\n    x = 2\ng()\nreturn x",
        "x = 1\ndef g():\n    x = 2\ng()\nreturn x",
    ),
    "what a comprehension binds": (
        "i = 1\na = [i for i in items]\nreturn i",
        "i = 1\na = [j for j in items]\nreturn a",
    ),
    "where a first iterator belongs": ("i = items\nreturn [i for i in i]", "i = items\nreturn [i for i in items]"),
    "what a default is": ("a = 1\nreturn lambda a=a: a", "a = 1\nreturn lambda a=1: a"),
    "a local annotation that binds": ("x: int\nreturn x", "return x"),
    "a decorator and what a function is said to return": (
        "@items\ndef g(x):\n    return x\nreturn g",
        "def g(x) -> items:\n    return x\nreturn g",
    ),
    "a module": ("import numpy as m\nreturn m.pi", "import math as m\nreturn m.pi"),
    "a module and its parent": ("import os.path\nreturn os", "import os.path as os\nreturn os"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_programs_that_differ_in_form_alone_are_the_same(one: str, other: str):
    assert are_the_same(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_programs_that_may_compute_something_else_are_not(one: str, other: str):
    assert not are_the_same(one, other)


@pytest.mark.parametrize(
    "body",
    [
        "x = 1\nreturn locals()",
        "return eval('x')",
        "import inspect\nreturn 1",
        "import sys\nreturn sys._getframe().f_locals",
        "return getattr(solve, '__code__')",
        "from builtins import vars as v\nreturn v()",
        "return frame.query(text)",
        "return " + " + ".join(["limit"] * 200),
        "return " + "9" * 5000,
        "return (",
    ],
)
def test_code_that_can_see_how_it_is_written_or_is_too_deep_is_refused(body: str):
    with pytest.raises(python_source.SourceError):
        meaning_hash(in_function(body))


def test_numbers_count_as_such_only_while_range_is_that_of_python():
    one, other = (in_function(f"for i in range(limit):\n    print({each})") for each in ("i + 1", "1 + i"))
    assert meaning_hash(one) == meaning_hash(other)
    assert meaning_hash(one, {"range"}) != meaning_hash(other, {"range"})


def test_names_of_a_module_stay():
    assert meaning_hash("a = 1") != meaning_hash("b = 1")
    assert meaning_hash("def f():\n    a = 1\n    return a") == meaning_hash("def f():\n    b = 1\n    return b")


class Value:
    """A value that remembers exactly how it was computed, so that no two orders of operands give the same."""

    def __init__(self, *made_of: Any) -> None:
        self.digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __add__(self, other: Any) -> Value:
        return Value("+", self, other)

    def __radd__(self, other: Any) -> Value:
        return Value("+", other, self)

    def __mul__(self, other: Any) -> Value:
        return Value("*", self, other)

    def __rmul__(self, other: Any) -> Value:
        return Value("*", other, self)

    def __sub__(self, other: Any) -> Value:
        return Value("-", self, other)

    def __rsub__(self, other: Any) -> Value:
        return Value("-", other, self)

    def __neg__(self) -> Value:
        return Value("-", self)


class Code:
    """Writes random functions with loops, closures, comprehensions and few names, so that these often collide."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def name(self) -> str:
        return self._chance.choice(["a", "b", "c", "d"])

    def expression(self, depth: int = 2) -> str:
        simple = ["0", "1", "2", "1.0", "0.5", "True", "x", "n", "G", *[self.name() for _ in range(6)]]
        if depth == 0 or self._chance.random() < 0.3:
            return self._chance.choice(simple)
        inner = [self.expression(depth - 1) for _ in range(3)]
        name = self.name()
        return self._chance.choice(
            [
                *[f"({inner[0]} + {inner[1]})", f"({inner[0]} * {inner[1]})", f"({inner[0]} - {inner[1]})"] * 3,
                f"pack({inner[0]} for {name} in (1, {inner[1]}))",
                f"pack([{inner[0]} for {name} in range(2)])",
                f"(pack([(e := {inner[0]}) for {name} in range(2)]) + e)",
                f"(lambda {name}: {inner[0]})({inner[1]})",
                f"(lambda {name}={inner[1]}: {inner[0]})()",
                f"({inner[0]} if {inner[1]} else {inner[2]})",
                f"-{inner[0]}",
            ]
        )

    def block(self, depth: int) -> str:
        return "\n".join(self.statement(depth) for _ in range(self._chance.randint(1, 3)))

    def statement(self, depth: int = 2) -> str:
        name, value = self.name(), self.expression()
        simple = [
            *[f"{name} = {value}"] * 5,
            f"{name} += {value}",
            f"{name} *= {value}",
            f"{name}: int = {value}",
            f"{name}, {self.name()} = {value}, {self.expression()}",
            *[f"log({value})"] * 4,
            f"x = {value}",
            *[f"return {value}", f"del {name}", "pass"] * (self._chance.random() < 0.3),
        ]
        if depth == 0 or self._chance.random() < 0.5:
            return self._chance.choice(simple)
        block = textwrap.indent(self.block(depth - 1), "    ")
        return self._chance.choice(
            [
                f"for {name} in range(2):\n{block}",
                f"for {name} in (x, {value}):\n{block}",
                f"if {value}:\n{block}",
                f"def g({self.name()}=1):\n{block}\n{self.name()} = g()",
                f"def g():\n    {self._chance.choice(['nonlocal', 'global'])} a\n{block}\ng()",
                f"class {self._chance.choice('abcC')}:\n{block}",
                f"try:\n{block}\nexcept Exception as {name}:\n    {self.name()} = 3",
            ]
        )

    def function(self) -> str:
        values = ["x", "n", "G", "0", "1.5", "x + 1"]
        start = "\n".join(f"{name} = {self._chance.choice(values)}" for name in "abcd" if self._chance.random() < 0.95)
        body = "\n".join([start, self.block(2), self.block(2), f"return {self.expression()}, a, b"])
        return "def f(x, n):\n" + textwrap.indent(body, "    ")


class Change(ast.NodeTransformer):
    """Changes one or all of the places of a function that a kind of change fits.

    Args:
        chance: Draws the place.
        kind: Kind of change.
    """

    def __init__(self, chance: random.Random, kind: str) -> None:
        self._chance, self._kind = chance, kind
        self._names = chance.sample("abcde", 2)
        self._share = chance.choice([0.1, 0.5])

    def visit(self, node: ast.AST) -> Any:
        self.generic_visit(node)
        old, new = self._names
        drawn = self._chance.random() < self._share
        match self._kind, node:
            case "all names", _:
                for field in ("id", "arg", "name"):
                    if getattr(node, field, None) in (old, new):
                        setattr(node, field, new if getattr(node, field) == old else old)
            case "a name", ast.Name(id=name) if name == old and drawn:
                node.id = new
            case "operands", ast.BinOp() if drawn:
                node.left, node.right = node.right, node.left
            case "a constant", ast.Constant() if drawn:
                node.value = self._chance.choice([0, 1, 2, 1.0, True])
            case "a product", ast.Constant(value=int()) if drawn and node.value is not True:
                return ast.BinOp(ast.Constant(node.value), ast.Mult(), ast.Constant(1))
            case "an annotation", ast.AnnAssign(value=ast.expr() as value):
                return ast.Assign([node.target], value)
            case "a text", ast.Assign() if drawn:
                return [ast.Expr(ast.Constant("a note")), node]
        return node


CHANGES = ("all names", "a name", "operands", "a constant", "a product", "an annotation", "a text")


def changed(text: str, chance: random.Random) -> str:
    tree = ast.parse(text)
    for _ in range(chance.choice([1, 1, 2])):
        tree = Change(chance, chance.choice(CHANGES)).visit(copy.deepcopy(tree))
    return ast.unparse(ast.fix_missing_locations(tree))


def plain(value: Any) -> Any:
    """Return a result without what differs from call to call, such as the address of a function."""
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(each) for each in value]
    return type(value).__name__ if callable(value) else repr(value)


def result(text: str, *arguments: Any) -> Any:
    """Run a function; return all that it logs, and what it returns or the kind of its error."""
    logged: list[Any] = []
    space: dict[str, Any] = {"log": lambda value: logged.append(plain(value)), "G": Value("global")}
    space["pack"] = lambda values: Value(*values)
    space |= {name: Value("global", name) for name in "abcde"}
    try:
        exec(compile(text, "f", "exec"), space)
        returned = plain(space["f"](*arguments))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the same)
        returned = type(error).__name__
    return logged, returned


ARGUMENTS = ((Value("x"), 2), (3, 0.5), (0.1, -1), (Value("x"), Value("n")))


@given(seed=st.integers(0, 10**9))
def test_equal_hashes_mean_equal_results(seed: int):
    chance = random.Random(seed)
    text = Code(chance).function()
    for other in (changed(text, chance) for _ in range(8)):
        if meaning_hash(text) == meaning_hash(other):
            for arguments in ARGUMENTS:
                assert result(text, *arguments) == result(other, *arguments), f"{text}\n\n{other}"


def test_the_changes_of_this_property_are_often_ones_of_form_alone_and_often_not():
    chance = random.Random(1)
    texts = [Code(chance).function() for _ in range(100)]
    pairs = [(text, changed(text, chance)) for text in texts]
    equal = [meaning_hash(one) == meaning_hash(other) for one, other in pairs if one != other]
    assert 15 < sum(equal) < 85
    returned = [result(text, *ARGUMENTS[0]) for text in texts]
    assert sum(len(logged) > 1 for logged, _ in returned) > 30, "many of them do something before they fail"


def fresh_names(names: Names, text: str) -> str:
    """Return a text whose local variables have other names, given by the scopes that were read."""
    renamed: dict[str, str] = {}
    for scope in names.scopes.values():
        for name in scope.bound:
            is_local = name not in scope.kept | names.untouched
            everywhere = all(name not in other.kept for other in names.scopes.values())
            if is_local and everywhere:
                renamed[name] = f"renamed_{name}"
    free = {name for name in renamed if any(owner_of(name, scope) is None for scope in names.scopes.values())}
    return python_source.rename(text, {name: new for name, new in renamed.items() if name not in free})


@given(seed=st.integers(0, 10**9))
def test_renamed_local_variables_make_no_difference(seed: int):
    text = Code(random.Random(seed)).function()
    other = fresh_names(read_names(ast.parse(text)), ast.unparse(ast.parse(text)))
    assert meaning_hash(text) == meaning_hash(other)


_NAMES = {ast.Lambda: "lambda", ast.ListComp: "listcomp", ast.SetComp: "setcomp", ast.DictComp: "dictcomp"}


def pairs_of_scopes(names: Names, table: symtable.SymbolTable) -> Iterator[tuple[Scope, symtable.SymbolTable]]:
    """Yield the scopes of functions and comprehensions with Python's own; those that share a line are left out."""
    ours, theirs = defaultdict(list), defaultdict(list)
    for node, scope in names.scopes.items():
        if not scope.is_class:
            name = getattr(node, "name", None) or _NAMES.get(type(node), "genexpr")
            ours[name, getattr(node, "lineno", 0)].append(scope)
    tables = [table]
    while tables:
        one = tables.pop()
        tables += one.get_children()
        if one.get_type() == "function":
            theirs[one.get_name(), one.get_lineno()].append(one)
    assert ours.keys() == theirs.keys()
    for key, scopes in ours.items():
        if len(scopes) == len(theirs[key]) == 1:
            yield scopes[0], theirs[key][0]


LIBRARY = (
    "statistics",
    "heapq",
    "difflib",
    "json/decoder",
    "calendar",
    "colorsys",
    "ipaddress",
    "mailbox",
    "shlex",
    "email/utils",
)


def test_names_belong_to_the_scopes_that_python_finds():
    compared = 0
    for module in LIBRARY:
        text = (Path(random.__file__).parent / f"{module}.py").read_text()
        names = read_names(ast.parse(text))
        for scope, found in pairs_of_scopes(names, symtable.symtable(text, module, "exec")):
            for symbol in found.get_symbols():
                if symbol.get_name() not in names.untouched | {"__class__"}:
                    compared += 1
                    assert_agrees(scope, symbol)
    assert compared > 700


@pytest.mark.parametrize("step", [1, -1])
def test_a_chain_of_local_variables_is_read_in_time_that_grows_with_its_length(
    step: int, monkeypatch: pytest.MonkeyPatch
):
    asked, length = list[str](), 200
    monkeypatch.setattr(
        "overnight.tasks.program.meaning.owner_of", lambda name, scope: asked.append(name) or owner_of(name, scope)
    )
    lines = [f"a{number} = a{number + 1} + 1" for number in range(length)][::step]
    meaning_hash(in_function("\n".join([*lines, f"a{length} = 'no number'"])))
    assert length < len(asked) < 5 * length


def test_sums_that_many_variables_share_are_read_once(monkeypatch: pytest.MonkeyPatch):
    asked = list[str]()
    monkeypatch.setattr(
        "overnight.tasks.program.meaning.owner_of", lambda name, scope: asked.append(name) or owner_of(name, scope)
    )
    targets, terms = " = ".join(f"a{number}" for number in range(50)), " + ".join(["n"] * 50)
    meaning_hash(in_function(f"n = 1\n{targets} = {terms}"))
    assert 50 < len(asked) < 10 * 50


def assert_agrees(scope: Scope, symbol: symtable.Symbol) -> None:
    """Check that a name belongs to the scope that Python finds for it."""
    name = symbol.get_name()
    owner = owner_of(name, scope)
    if symbol.is_parameter():
        assert owner is scope or name == ".0", "the iterator of a comprehension has no name of ours"
        assert name in scope.kept or name == ".0"
    elif symbol.is_local():
        assert owner is scope
    elif symbol.is_free():
        assert owner not in (scope, None)
    else:
        assert owner is None
