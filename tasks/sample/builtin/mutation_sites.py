"""Finds the places where a function can be changed: its expressions and the gaps between its statements."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field

from tasks.sample.builtin.expression_types import (
    ARRAY,
    ELEMENTWISE,
    FLOAT,
    INT,
    MASK,
    NUMBERS,
    OTHER,
    Env,
    Kind,
    bind,
    infer,
    join,
)
from tasks.sample.builtin.prompt_parsing import all_arguments, bound_by
from tasks.sample.builtin.trees import called, nodes

BUILTINS = frozenset(dir(builtins))
_JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(slots=True)
class Site:
    """An expression that may be replaced.

    Attributes:
        owner: The node that contains the expression.
        field: Name of the owner's field.
        index: Index in the field if that is a list, else `None`.
        env: Names in scope.
        kind: Kind of the expressions that may be put there.
        is_loose: Whether both a number and an array fit, because the operation around it broadcasts.
        is_root: Whether it is the whole value of a statement.
    """

    owner: ast.AST
    field: str
    index: int | None
    env: Env
    kind: Kind
    is_loose: bool
    is_root: bool

    @property
    def tree(self) -> ast.expr:
        """The expression that is there now."""
        value = getattr(self.owner, self.field)
        return value if self.index is None else value[self.index]

    def put(self, tree: ast.expr) -> None:
        """Replace the expression."""
        if self.index is None:
            setattr(self.owner, self.field, tree)
        else:
            getattr(self.owner, self.field)[self.index] = tree


@dataclass(slots=True)
class Gap:
    """A place before a statement, which is `block[index]`, with the names in scope."""

    block: list[ast.stmt]
    index: int
    env: Env


@dataclass(slots=True)
class Survey:
    """All places where a function can be changed.

    Attributes:
        sites: Expressions of a known kind.
        gaps: Places before its statements.
        undefined: Names that are read where they may have no value yet.
        returns: Kinds of the values that the function returns.
    """

    sites: list[Site] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    undefined: set[str] = field(default_factory=set)
    returns: list[Kind] = field(default_factory=list)


def survey(function: ast.FunctionDef, env: Env) -> Survey:
    """Return the survey of a function whose arguments and global names are `env`."""
    walker = _Walker()
    walker.block(function.body, dict(env))
    return walker.found


class _Walker:
    def __init__(self) -> None:
        self.found = Survey()
        self._nested = 0

    def block(self, block: list[ast.stmt], env: Env) -> Env:
        """Walk statements in order and return the names in scope after them."""
        for index, statement in enumerate(block):
            self.found.gaps.append(Gap(block, index, env))
            env = self._statement(statement, env)
        return env

    def _statement(self, statement: ast.stmt, env: Env) -> Env:
        match statement:
            case ast.Return(value=value):
                if self._nested == 0:
                    self.found.returns.append(infer(value, env) if value is not None else OTHER)
                return self._fields(statement, env)
            case ast.Assign(targets=targets, value=value):
                self._fields(statement, env)
                return self._assigned(targets, value, env)
            case ast.AugAssign(target=ast.Name(id=identifier), op=op, value=value):
                self._name(identifier, env)
                self._fields(statement, env)
                result = ast.BinOp(ast.Name(identifier, ast.Load()), op, value)
                return env | {identifier: infer(result, env)}
            case ast.If(body=body, orelse=orelse):
                self._child(statement, "test", None, env, is_root=True)
                return _merge(env, self._branch(body, env), self._branch(orelse, env))
            case ast.For(target=target, iter=iterated, body=body, orelse=orelse):
                self._child(statement, "iter", None, env, is_root=True)
                return self._loop(body, orelse, env, bind(target, iterated, env))
            case ast.While(body=body, orelse=orelse):
                self._child(statement, "test", None, env, is_root=True)
                return self._loop(body, orelse, env, env)
            case ast.FunctionDef():
                return self._function(statement, env)
        return self._other(statement, env)

    def _other(self, statement: ast.stmt, env: Env) -> Env:
        """Walk a statement that is rare in evolved functions: an expression, `with`, `try`, an import and the like."""
        env = self._fields(statement, env) | bound_by(statement, env)
        if isinstance(statement, ast.With):
            names = {n.id for item in statement.items for n in nodes(item) if isinstance(n, ast.Name)}
            return self.block(statement.body, dict.fromkeys(names, OTHER) | env)
        if isinstance(statement, ast.Try):
            self.block(statement.body, env)
            for handler in statement.handlers:
                self.block(handler.body, env | ({handler.name: OTHER} if handler.name else {}))
            return self.block(statement.finalbody, env)
        return env

    def _branch(self, block: list[ast.stmt], env: Env) -> Env | None:
        """Return the names in scope after a branch; `None` if the branch never reaches its end."""
        after = self.block(block, env)
        return None if block and isinstance(block[-1], _JUMPS) else after

    def _loop(self, body: list[ast.stmt], orelse: list[ast.stmt], env: Env, inner: Env) -> Env:
        after = self.block(body, inner)
        after = {key: join(kind, after.get(key, kind)) for key, kind in env.items()}
        return self.block(orelse, after)

    def _function(self, function: ast.FunctionDef, env: Env) -> Env:
        env = env | {function.name: OTHER}
        self._nested += 1
        self.block(function.body, env | {a.arg: OTHER for a in all_arguments(function)})
        self._nested -= 1
        return env

    def _assigned(self, targets: list[ast.expr], value: ast.expr, env: Env) -> Env:
        bound: Env = {}
        for target in targets:
            if isinstance(target, ast.Name):
                bound[target.id] = infer(value, env)
            elif isinstance(target, ast.Tuple | ast.List):
                values = value.elts if isinstance(value, ast.Tuple) else []
                for index, part in enumerate(target.elts):
                    kind = infer(values[index], env) if len(values) == len(target.elts) else OTHER
                    bound |= {n.id: kind for n in nodes(part) if isinstance(n, ast.Name)}
            else:
                self._fields(target, env)
        return env | bound

    def _fields(self, node: ast.AST, env: Env, **how: bool) -> Env:
        """Walk the expressions directly under a node and return `env`."""
        for field_name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                self._child(node, field_name, None, env, is_root=isinstance(node, ast.stmt), **how)
            elif isinstance(value, list) and field_name not in ("body", "orelse", "finalbody", "handlers", "targets"):
                for index, item in enumerate(value):
                    if isinstance(item, ast.expr):
                        self._child(node, field_name, index, env, **how)
                    elif isinstance(item, ast.keyword | ast.withitem | ast.FormattedValue):
                        self._fields(item, env)
        return env

    def _child(
        self,
        owner: ast.AST,
        field_name: str,
        index: int | None,
        env: Env,
        *,
        is_whole: bool = False,
        is_loose: bool = False,
        is_root: bool = False,
    ) -> None:
        site = Site(owner, field_name, index, env, OTHER, is_loose, is_root)
        tree = site.tree
        if isinstance(getattr(tree, "ctx", None), ast.Store | ast.Del):
            return
        kind = infer(tree, env)
        site.kind = FLOAT if kind in NUMBERS and not is_whole else INT if kind in NUMBERS else kind
        if kind != OTHER:
            self.found.sites.append(site)
        self._below(tree, kind, env, is_whole=is_whole)

    def _below(self, tree: ast.expr, kind: Kind, env: Env, *, is_whole: bool) -> None:
        broadcasts = kind in (ARRAY, MASK)
        match tree:
            case ast.Name(id=identifier):
                self._name(identifier, env)
            case ast.Call(func=function):
                if isinstance(function, ast.Name):
                    self._name(function.id, env)
                elif isinstance(function, ast.Attribute):
                    self._method(function, env)
                is_whole = is_whole or called(tree) == "range"
                self._arguments(tree, env, is_whole=is_whole, is_loose=broadcasts and called(tree) in ELEMENTWISE)
            case ast.Subscript():
                self._child(tree, "value", None, env)
                self._child(tree, "slice", None, env, is_whole=True)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(tree, env)
            case ast.Lambda(body=_):
                self._child(tree, "body", None, env | {a.arg: OTHER for a in nodes(tree) if isinstance(a, ast.arg)})
            case ast.BinOp() | ast.Compare():
                self._fields(tree, env, is_whole=is_whole, is_loose=broadcasts)
            case ast.NamedExpr():
                self.found.undefined.add(":=")
            case _:
                self._fields(tree, env, is_whole=is_whole)

    def _method(self, function: ast.Attribute, env: Env) -> None:
        """Walk the owner of a method; a plain name such as a module is not an expression to replace."""
        if isinstance(function.value, ast.Name):
            self._name(function.value.id, env)
        else:
            self._child(function, "value", None, env)

    def _arguments(self, node: ast.Call, env: Env, *, is_whole: bool, is_loose: bool) -> None:
        for index in range(len(node.args)):
            self._child(node, "args", index, env, is_whole=is_whole, is_loose=is_loose)
        for keyword in node.keywords:
            self._fields(keyword, env)

    def _comprehension(self, tree: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, env: Env) -> None:
        for generator in tree.generators:
            self._child(generator, "iter", None, env)
            env = bind(generator.target, generator.iter, env)
            for index in range(len(generator.ifs)):
                self._child(generator, "ifs", index, env)
        for part in ("key", "value") if isinstance(tree, ast.DictComp) else ("elt",):
            self._child(tree, part, None, env)

    def _name(self, identifier: str, env: Env) -> None:
        if identifier not in env and identifier not in BUILTINS:
            self.found.undefined.add(identifier)


def _merge(before: Env, *branches: Env | None) -> Env:
    """Return the names that are in scope after every branch that reaches its end."""
    ended = [b for b in branches if b is not None] or [before]
    common = set(ended[0]).intersection(*ended[1:])
    merged: Env = {}
    # Names are in the order of the first branch, because a set's order differs between processes.
    for key in (k for k in ended[0] if k in common):
        kind = ended[0][key]
        for other in ended[1:]:
            kind = join(kind, other[key])
        merged[key] = kind
    return merged
