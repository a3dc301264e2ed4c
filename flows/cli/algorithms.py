"""`overnight algorithms`: list the search algorithms."""

from __future__ import annotations

from flows.cli.printing import OutputFormat, out, say, table, write_json


def algorithms(*, format: OutputFormat = "text") -> None:  # noqa: A002
    """List the search algorithms, what each does, and the paper or system that it is from."""
    from schemas.algorithm_settings import algorithm_kinds

    default, *_ = kinds = algorithm_kinds()
    if format == "json":
        names = ("algorithm", "is_default", "summary", "source")
        values = ((kind.algorithm_name(), kind is default, kind.summary(), kind.source) for kind in kinds)
        write_json([dict(zip(names, each, strict=True)) for each in values])
        return
    rows = [(kind.algorithm_name(), "yes" if kind is default else "", kind.summary(), kind.source) for kind in kinds]
    out().print(table(("algorithm", "default", "what it does", "source"), rows, spare=("source",)))
    say("choose one: overnight run PROBLEM --set search.algorithm=NAME; its settings are in schemas/README.md")
