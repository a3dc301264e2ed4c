"""Write a PIVOT over the values of the data as a PIVOT over a list of values, which is a single SELECT.

DuckDB runs the former as several statements, of which the first creates a type, and can neither check nor allow them in
a read-only database. Only text is changed here: what is run is checked afterwards like any other query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.errors import QueryError
from tasks.history.query_guard import strip_explain

_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z_]\w* ) | (?P<mark> [()\[\],;] ) | .
    """,
    re.VERBOSE | re.DOTALL,
)
_END = {"USING", "GROUP", "ORDER", "LIMIT", ";"}
"""Words at which the list of a PIVOT's columns ends."""

_MAX_VALUES = 1000
"""Limit on the values of one expression, each of which is a column."""


@dataclass(frozen=True)
class Pivot:
    """A PIVOT, cut at its expressions.

    Attributes:
        beginning: Text before PIVOT, such as a WITH clause.
        source: What is pivoted.
        columns: Expressions after ON, in order; one that lists its values is left as it is.
        rest: Text after the expressions.
    """

    beginning: str
    source: str
    columns: tuple[str, ...]
    rest: str

    @property
    def queries(self) -> list[str]:
        """Queries for the values of each expression that lists none, in order."""
        beginning = strip_explain(self.beginning)
        return [
            f"{beginning} SELECT DISTINCT ({column})::VARCHAR AS value FROM {self.source} "
            f"WHERE value IS NOT NULL ORDER BY value LIMIT {_MAX_VALUES + 1}"
            for column in self.columns
            if not _lists_values(column)
        ]

    def with_values(self, found: Sequence[Sequence[str]]) -> str:
        """Return the PIVOT over the values that `queries` returned.

        Raises:
            QueryError: If there are too many.
        """
        remaining = iter(found)
        columns = [column if _lists_values(column) else _listed(column, next(remaining)) for column in self.columns]
        return f"{self.beginning} PIVOT {self.source} ON {', '.join(columns)} {self.rest}"


def parse_pivot(sql: str) -> Pivot | None:
    """Return the PIVOT that a statement is; `None` if it is none."""
    sql = "".join(" " if token["comment"] else token.group() for token in _TOKEN.finditer(sql))
    marks = list(_outer_words(sql))
    start = next((span for word, span in marks if word == "PIVOT"), None)
    on = next((span for word, span in marks if word == "ON" and start and span[0] > start[1]), None)
    if start is None or on is None:
        return None
    later = [(word, span) for word, span in marks if span[0] >= on[1]]
    end = next((span[0] for word, span in later if word in _END), len(sql))
    cuts = [on[1], *(edge for word, span in later if word == "," and span[1] <= end for edge in span), end]
    columns = tuple(sql[first:last].strip() for first, last in zip(cuts[::2], cuts[1::2], strict=True))
    return Pivot(sql[: start[0]], sql[start[1] : on[0]], columns, sql[end:])


def _lists_values(column: str) -> bool:
    return any(word == "IN" for word, _ in _outer_words(column))


def _listed(column: str, values: Sequence[str]) -> str:
    if len(values) > _MAX_VALUES:
        raise QueryError(
            f"PIVOT: more than {_MAX_VALUES} values of {column}, each of which is a column",
            remedy=f"List those that you want: ON {column} IN (…)",
        )
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values) or "NULL"
    return f"({column}) IN ({listed})"


def _outer_words(sql: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield words, commas and semicolons outside of brackets, quotes and comments, in upper case, with their spans."""
    depth = 0
    for token in _TOKEN.finditer(sql):
        text = token.group()
        if token["mark"] and text in "([":
            depth += 1
        elif token["mark"] and text in ")]":
            depth -= 1
        elif not depth and (token["word"] or token["mark"]):
            yield text.upper(), token.span()
