"""Convert what versions 0.1 and 0.2 wrote, format 1, as it is read; everything else knows present names alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overnight.schemas import tables
from overnight.schemas.algorithm_settings import IslandsSettings, algorithm_kinds
from overnight.tasks.program.config_layers import merge

FORMER_COLUMNS = {"niche": "island", "reset_niches": "reset_islands"}
"""Columns in which version 0.1 wrote numbers of islands, by the present ones."""

_TABLES = {**tables.ALL, "files": tables.FILES}

_ABSENT = {
    "search": {"facts": False, "operators": [], "bandit": False, "novelty": "layout"},
    "tuner": {"enabled": False},
}
"""Settings for what version 0.1 did before they existed."""


_GONE = {"limits": {"scale_by_speed"}, "sandbox": {"straggler_factor"}, "tuner": {"max_s"}}
"""Settings that are gone, by their table; what the search does instead has a fixed value."""

_GONE_OF_ALGORITHMS = {
    "cluster_temperature", "cluster_period", "length_temperature", "reset_hours", "sharpness", "exploration",
    "children", "bins",
}  # fmt: skip
"""The same of our algorithms; one of a plug-in keeps what it has."""

_DROPPED = {"mode", "lookahead", "window", "expected_samples"}
"""Settings of `search` that are gone; the window became `sampling.concurrency`."""


def current_table(table: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Return these columns, by default all, with their present types; those that its file lacks are null."""
    name = (table.schema.metadata or {}).get(b"overnight.table", b"").decode()
    schema = _TABLES.get(name)
    if schema is None:
        return table
    wanted = [field for field in schema if columns is None or field.name in columns]
    return pa.table([_column(table, field) for field in wanted], schema=pa.schema(wanted, metadata=schema.metadata))


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    nulls = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    names = [name for name in (field.name, FORMER_COLUMNS.get(field.name)) if name in table.column_names]
    return pc.call_function("coalesce", [*(table[name].cast(field.type) for name in names), nulls])


def current_settings(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run under their present names, with those that version 0.1 did not have."""
    stored = {table: _without(value, _GONE.get(table, ())) for table, value in stored.items()}
    search = stored.get("search")
    if not isinstance(search, dict):
        return stored
    algorithm = search.get("algorithm")
    if isinstance(algorithm, dict) and algorithm.get("name") in {kind.algorithm_name() for kind in algorithm_kinds()}:
        search = {**search, "algorithm": _without(algorithm, _GONE_OF_ALGORITHMS)}
        stored = {**stored, "search": search}
    former = {*IslandsSettings.model_fields, *_GONE_OF_ALGORITHMS} - {"name"}
    if not search.keys() & (former | _DROPPED):
        return merge([_ABSENT, stored])
    kept = _without(search, former | _DROPPED)
    if "mode" in search:
        name = "funsearch" if search["mode"] == "paper" else "islands"
        given = {one: search[one] for one in former & search.keys()}
        kept["algorithm"] = {
            "name": name,
            **{one: value for one, value in given.items() if one in IslandsSettings.model_fields},
        }
    sampling = {**stored.get("sampling", {}), "concurrency": search.get("window")}
    return merge([_ABSENT, {**stored, "search": kept, "sampling": sampling}])


def _without(table: Any, gone: Collection[str]) -> Any:
    """Return a table without some of its settings; what is no table stays."""
    return {name: one for name, one in table.items() if name not in gone} if isinstance(table, dict) else table
