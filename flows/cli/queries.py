"""Run queries and describe the views, for `overnight sql` and its shell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flows.cli.output_formats import Format, write_result
from flows.cli.printing import count, out, say, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from tasks.history.query_process import QueryProcess

_COLUMNS = """
SELECT table_name AS view, column_name AS column, data_type AS type, comment AS meaning
FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal AND (? IS NULL OR table_name = ?)
ORDER BY table_name, column_index
"""


def run_query(database: QueryProcess, query: str, style: Format, timeout_s: float) -> None:
    """Run a query and write the result to stdout; after a table, print its rows and seconds to stderr."""
    database.wait_until_ready()
    begin = time.monotonic()
    result = database.query(query, timeout_s=timeout_s)
    seconds = time.monotonic() - begin
    write_result(result, style)
    if style == "table":
        say(f"{count(result.num_rows, 'row')} in {seconds:.3f} s")


def describe_views(database: QueryProcess, view: str | None, style: Format) -> None:
    """Write the columns of one view with their meanings, or those of all views and the macros.

    Raises:
        UsageError: If there is no such view.
    """
    from schemas.views import MACROS, VIEWS

    if view is not None and view not in VIEWS:
        raise UsageError(f"no view {view!r}", remedy=f"The views are: {', '.join(VIEWS)}")
    columns = database.query(_COLUMNS, [view, view])
    if style != "table":
        write_result(columns, style)
        return
    rows = columns.to_pylist()
    for name in VIEWS if view is None else (view,):
        shown = [(row["column"], row["type"], row["meaning"]) for row in rows if row["view"] == name]
        out().print(table((name, "type", "meaning"), shown, title=f"{name}: {VIEWS[name].description}"))
    if view is None:
        out().print(table(("macro", "result"), [(macro.call, macro.description) for macro in MACROS.values()]))
        say("""for example: overnight sql "FROM best_programs('last')"; more examples with --cookbook""")


def print_cookbook() -> None:
    """Write common questions and their queries to stdout."""
    from schemas.views import cookbook

    out().print(cookbook(), markup=False, soft_wrap=True, end="")
