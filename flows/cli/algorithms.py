"""`overnight algorithms`: list the search algorithms."""

from __future__ import annotations

from flows.cli.printing import out, say, table


def algorithms() -> None:
    """List the search algorithms, what each does, and the paper or system that it is from."""
    from schemas.algorithm_settings import algorithm_kinds

    default, *_ = kinds = algorithm_kinds()
    rows = [(kind.algorithm_name(), "yes" if kind is default else "", kind.summary(), kind.source) for kind in kinds]
    out().print(table(("algorithm", "default", "what it does", "source"), rows, spare=("source",)))
    say("choose one: overnight run PROBLEM --set search.algorithm=NAME; its settings are in schemas/README.md")
