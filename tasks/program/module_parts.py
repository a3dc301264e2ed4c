"""Find which statements of a module are kept beside some of its functions, and which are not needed."""

from __future__ import annotations

import ast
import builtins
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache

from overnight.tasks.program import python_source
from overnight.tasks.program.statement_effects import (
    DEFINITIONS,
    HARMLESS,
    IMPORTS,
    free_names,
    given_names,
    has_effect,
    read_names,
    stored_names,
)

_MOST_ORDERED = 400
"""Most statements whose order is looked at."""


def names_bound_by(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement at the top level of a module binds there; `*` for an import of all names.

    Variables of comprehensions are none of them.
    """
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return frozenset({statement.name})
        case ast.Import() | ast.ImportFrom():
            names = {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
            return frozenset(names - {"funsearch"})
    inner = [node.target for node in python_source.nodes(statement) if isinstance(node, ast.comprehension)]
    return python_source.bound_names(statement) - _only_in(statement, inner)


def names_given_by(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement binds for others, without variables that count its loops."""
    targets = [node.target for node in python_source.nodes(statement) if isinstance(node, ast.For | ast.AsyncFor)]
    return names_bound_by(statement) - _only_in(statement, targets)


def _only_in(statement: ast.stmt, targets: Sequence[ast.expr]) -> set[str]:
    """Return the variables that a statement assigns in some targets of loops, and nowhere else."""
    of_loops = [name for target in targets for name in _stored_in(target)]
    others = Counter(_stored_in(statement)) - Counter(of_loops)
    return set(of_loops) - others.keys()


def _stored_in(tree: ast.AST) -> list[str]:
    """Return the variables that a tree assigns, each as often as it does."""
    nodes = python_source.nodes(tree)
    return [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def is_docstring_of(after: ast.stmt, node: ast.stmt) -> bool:
    """Return whether a statement is the text that explains the constant before it."""
    is_text = (
        isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    )
    return is_text and isinstance(node, ast.Assign | ast.AnnAssign)


def _needed_by(*nodes: ast.stmt) -> set[str]:
    """Return the names that statements of a module take from elsewhere."""
    needed: set[str] = set()
    for node in nodes:
        arguments = {one.arg for one in python_source.nodes(node) if isinstance(one, ast.arg)}
        needed |= python_source.called_names(node) - arguments - python_source.bound_names(node)
    return needed


def with_needs(nodes: Sequence[ast.stmt], others: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return those of the other statements that some need, themselves or by others."""
    kept, new = list[ast.stmt](), nodes
    while new:
        needed = _needed_by(*new)
        new = [node for node in others if node not in kept and names_bound_by(node) & needed]
        kept += new
    return kept


def in_order(inherited: Sequence[ast.stmt], own: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return inherited statements and then own ones, but those first that inherited ones need when they are loaded.

    An own import or helper may stand for an inherited one, from which others of its module were computed. Of very many
    statements the order is as it is: it takes time that grows with the square of their number.
    """
    statements = [*inherited, *own]
    if len(statements) > _MOST_ORDERED:
        return statements
    used = {
        one: free_names(one) if isinstance(one, DEFINITIONS) else python_source.called_names(one) for one in statements
    }
    binding: defaultdict[str, list[ast.stmt]] = defaultdict(list)
    for one in statements:
        for name in names_bound_by(one):
            binding[name].append(one)
    again = {one for several in binding.values() if len(several) > 1 for one in several}
    ordered, begun = list[ast.stmt](), set[ast.stmt]()

    @cache
    def needs(one: ast.stmt) -> set[ast.stmt]:
        found, names = set[ast.stmt](), set(used[one])
        waiting = list(names)
        while waiting:
            for each in binding.get(waiting.pop(), ()):
                if each not in found:
                    found.add(each)
                    waiting += used[each] - names
                    names |= used[each]
        return found

    def put(one: ast.stmt) -> None:
        if one in begun:
            return
        begun.add(one)
        needed = set() if isinstance(one, DEFINITIONS) else needs(one)
        if needed.intersection(own):
            for each in statements:
                if each in needed - again and one not in needs(each):
                    put(each)
        ordered.append(one)

    for one in inherited:
        put(one)
    return [*ordered, *(one for one in own if one not in begun)]


def first_line(node: ast.stmt) -> int:
    """Return the number of a statement's first line, that of its first decorator if it has any."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


class NotKeptError(ValueError):
    """A statement would mean something else in the program; the message says which, and what to do.

    It becomes part of stored verdicts, which a replay compares: do not reword the messages.
    """


def needed_statements(
    statements: Sequence[ast.stmt],
    functions: Sequence[ast.stmt],
    left_out: Collection[str] = (),
    harmless: Collection[str] = (),
    inherited: Collection[ast.stmt] = (),
) -> list[ast.stmt]:
    """Return the statements that functions need, those that do something, and all that these need, in order.

    Left out are what calls the functions themselves, such as tests of them, and what nothing uses: imports,
    definitions, constants.

    Args:
        statements: Statements at the top level of a module.
        functions: Functions beside them.
        left_out: Names of these functions, and of those that score them.
        harmless: Names of further functions that change nothing.
        inherited: Those of the statements that are from another module. They are kept if the functions need them, or
            they do something to what is needed of that module, or to none of its variables.

    Raises:
        NotKeptError: If what calls the functions changes what they need.
    """
    module = _Module([one for one in statements if not _is_main_block(one)], harmless)
    tests = module.tests(left_out)
    effects = [one for one in module.statements if one not in tests and module.has_effect(one)]
    needed = set[str]().union(*map(python_source.called_names, functions))
    own = [one for one in effects if one not in inherited]
    names = module.closure(own, needed, tests)[1]
    roots = own + [one for one in effects if one in inherited and module.concerns(one, names, inherited)]
    kept, _ = module.closure(roots, needed, tests)
    _refuse_change_by(tests, [one for one in statements if one in kept], functions, module.harmless | set(left_out))
    return [one for one in statements if one in kept]


class _Module:
    """Statements by the names that they bind and use."""

    def __init__(self, statements: Sequence[ast.stmt], harmless: Collection[str]) -> None:
        self.statements = statements
        self.loads = {one: python_source.called_names(one) for one in statements}
        self.binding: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        self._users: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        for one in statements:
            for name in names_bound_by(one):
                self.binding[name].append(one)
            for name in free_names(one) if isinstance(one, DEFINITIONS) else self.loads[one]:
                self._users[name].append(one)
        self._own = {name for one in statements if not isinstance(one, IMPORTS) for name in names_bound_by(one)}
        self.harmless = (HARMLESS | set(harmless)) - self._own

    def has_effect(self, statement: ast.stmt) -> bool:
        return has_effect(statement, self._own, self.harmless)

    def tests(self, names: Iterable[str]) -> set[ast.stmt]:
        """Return the statements that run functions of these names, themselves or by others, or use what they gave."""
        tests, given, reaching, waiting = set[ast.stmt](), set[str](), set(names), list(names)
        while waiting:
            name = waiting.pop()
            for one in self._users[name]:
                bound = names_bound_by(one)
                if not isinstance(one, DEFINITIONS) and (name in given or name in read_names(one, self._own)):
                    tests.add(one)
                    bound = {each for each in bound if self._is_given_by(tests, each)}
                    given |= bound
                waiting += bound - reaching
                reaching |= bound
        return tests

    def _is_given_by(self, tests: Collection[ast.stmt], name: str) -> bool:
        """Return whether a name has no value but from tests, and what changes this."""
        return all(one in tests or _changes(one, name) for one in self.binding[name])

    def closure(
        self, roots: Iterable[ast.stmt], needed: Iterable[str], tests: Collection[ast.stmt]
    ) -> tuple[set[ast.stmt], set[str]]:
        """Return the roots with all statements that bind what is needed, but for tests, and the names they use."""
        kept = set(roots)
        names = set(needed).union(*(self.loads[one] for one in kept))
        waiting = list(names)
        while waiting:
            for one in self.binding[waiting.pop()]:
                if one not in kept and one not in tests:
                    kept.add(one)
                    waiting += self.loads[one] - names
                    names |= self.loads[one]
        return kept, names

    def concerns(self, statement: ast.stmt, needed: Collection[str], inherited: Collection[ast.stmt]) -> bool:
        """Return whether an inherited statement does something to what is needed of its module and still there."""
        used = {name: self.binding[name] for name in self.closure([statement], (), ())[1]}
        own = [one for binding in used.values() for one in binding if not isinstance(one, IMPORTS)]
        plain = {one for one in own if not isinstance(one, DEFINITIONS) and one is not statement}
        variables = {name for name, binding in used.items() if plain.intersection(binding)}
        return all(one in inherited for one in own) and (not variables or bool(variables.intersection(needed)))


def _changes(statement: ast.stmt, name: str) -> bool:
    """Return whether a statement binds a name to something made of its value, as in `a += 1` and `a = sorted(a)`."""
    match statement:
        case ast.AugAssign():
            return True
        case ast.Assign(targets=targets, value=value):
            return name in python_source.called_names(value) and any(
                name in python_source.bound_names(each) for each in targets
            )
    return False


def _is_main_block(statement: ast.stmt) -> bool:
    """Return whether it is `if __name__ == "__main__":` without an `else`."""
    match statement:
        case ast.If(test=ast.Compare(left, [ast.Eq()], [right]), orelse=[]):
            return {ast.dump(left), ast.dump(right)} == _MAIN
    return False


_MAIN = {ast.dump(ast.Name("__name__", ast.Load())), ast.dump(ast.Constant("__main__"))}


def _refuse_change_by(
    tests: Collection[ast.stmt], kept: Sequence[ast.stmt], functions: Sequence[ast.stmt], harmless: Collection[str]
) -> None:
    """Refuse statements that call the functions, and bind or change a variable that these or the kept ones need."""
    needed = set[str]().union(*map(free_names, functions), *map(free_names, kept))
    variables = {name for one in kept if not isinstance(one, (*DEFINITIONS, *IMPORTS)) for name in names_bound_by(one)}
    for one in tests:
        if (names_bound_by(one) & needed) or ((stored_names(one) | given_names(one, harmless)) & needed & variables):
            raise NotKeptError(f"`{shortened(one)}` is not kept: it calls the function, and changes what this needs")


def stored_attributes(statements: Iterable[ast.stmt], name: str) -> list[str]:
    """Return the attributes that statements set on what a name holds, such as `f.cache`."""
    return [
        f"{name}.{node.attr}"
        for one in statements
        for node in python_source.nodes(one)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    ]


def missing_modules(trees: Sequence[ast.AST], known: Collection[str]) -> list[str]:
    """Return the modules of the standard library that code uses, as in `math.pi`, and never imports."""
    bound = set(known).union(*map(python_source.bound_names, trees), *map(_arguments, trees), dir(builtins))
    used = {
        node.value.id
        for tree in trees
        for node in python_source.nodes(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return sorted(used & sys.stdlib_module_names - bound)


def _arguments(tree: ast.AST) -> Iterator[str]:
    return (node.arg for node in python_source.nodes(tree) if isinstance(node, ast.arg))


def shortened(statement: ast.stmt) -> str:
    """Return the beginning of a statement on one line, for a message."""
    text = " ".join(python_source.unparse(statement).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN = 100
"""Most characters of a statement in a message."""


def text_of(lines: Sequence[str], statement: ast.stmt) -> str:
    """Return the text of a statement at the top level of a module, which has these lines, with its decorators."""
    decorators = statement.decorator_list if isinstance(statement, DEFINITIONS) else []
    first, last = min([statement.lineno, *(one.lineno for one in decorators)]), statement.end_lineno or 0
    behind = lines[last - 1].encode()[statement.end_col_offset :].strip()
    if statement.col_offset or (behind and not behind.startswith(b"#")):
        return python_source.unparse(statement)  # another one is on its line
    return "\n".join(lines[first - 1 : last])


def join_statements(texts: Sequence[str]) -> str:
    """Return the text of a module: two empty lines around functions and classes, none between other statements."""
    joined = ""
    for before, text in zip(["", *texts], texts, strict=False):
        gap = "\n\n\n" if _is_block(before) or _is_block(text) else "\n"
        joined += (gap if before else "") + text
    return joined


def _is_block(text: str) -> bool:
    return text.startswith(("def ", "class ", "async ", "@"))
