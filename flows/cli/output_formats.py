"""Write the result of a query as a table for people, or in a format for other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from overnight.flows.cli.printing import out, table
from overnight.flows.cli.terminal import is_terminal
from overnight.schemas.errors import QueryError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["text", "csv", "json", "jsonl", "markdown", "parquet"]

_ROWS = 10_000
"""Rows that are converted to Python objects at a time; these take several times the memory of the Arrow table."""


def write_result(result: pa.Table, style: Format) -> None:
    """Write a query result to stdout. Repeated column names get a suffix: `score_1`, `score_2`, ….

    Raises:
        UsageError: If the format is Parquet and stdout is a terminal.
        QueryError: If the format cannot hold a column or a value; nothing is written then.
    """
    result = result.rename_columns(_distinct(result.column_names))
    match style:
        case "text":
            _write_table(result)
        case "csv":
            _write_csv(result)
        case "json":
            _write_json(result)
        case "jsonl":
            _require_json(result)
            for row in _rows(result):
                _write_bytes(_json(row) + b"\n")
        case "markdown":
            _write_bytes(_markdown(result).encode())
        case "parquet":
            _write_parquet(result)
    sys.stdout.flush()


def _distinct(names: Sequence[str]) -> list[str]:
    """Return unique column names, numbered as DuckDB numbers the columns of a subquery."""
    unique: list[str] = []
    for name in names:
        numbered = (f"{name}_{count}" for count in range(1, len(names) + 1))
        free = (candidate for candidate in numbered if candidate not in unique and candidate not in names)
        unique.append(next(free) if name in unique else name)
    return unique


def _rows(result: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in result.to_batches(max_chunksize=_ROWS):
        columns = [_values(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, values, strict=True))


def _values(name: str, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column as Python objects, which lack some, such as a date after the year 9999."""
    try:
        return column.to_pylist(maps_as_pydicts="strict")
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        raise QueryError(
            f"column {name!r} of type {column.type} has a value that cannot be converted, such as a date after the "
            "year 9999, or a map with lists as its keys",
            remedy="Cast that column: name::VARCHAR",
        ) from error


def _require_dates(result: pa.Table) -> None:
    """Refuse dates and times that Arrow cannot write as text; it writes a remark in their place."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    for field in result.schema:
        if kinds.is_timestamp(field.type) or kinds.is_date(field.type):
            ends = pc.min_max(result.column(field.name)).values()  # pyright: ignore[reportAttributeAccessIssue]
            if any("out of range" in (end.cast(pa.string()).as_py() or "") for end in ends):
                raise QueryError(
                    f"column {field.name!r} of type {field.type} has a value that CSV cannot hold, such as an infinite "
                    "or very late date",
                    remedy="Cast that column: name::VARCHAR",
                )


def _require_json(result: pa.Table) -> None:
    """Convert the columns that may hold values without a JSON form, before the first row is written."""
    import pyarrow.types as kinds

    may_fail = [field.name for field in result.schema if kinds.is_nested(field.type) or kinds.is_temporal(field.type)]
    for row in _rows(result.select(may_fail)) if may_fail else ():
        _json(row)


def _write_table(result: pa.Table) -> None:
    import pyarrow.types as kinds

    numbers = [field.name for field in result.schema if kinds.is_floating(field.type) or kinds.is_integer(field.type)]
    rows = [[_cell(value) for value in row.values()] for row in _rows(result)]
    out().print(table(result.column_names, rows, right=numbers))


def _write_csv(result: pa.Table) -> None:
    import pyarrow.types as kinds

    # CSV has no nested values: lists, maps and structs are written as JSON.
    _require_dates(result)
    flat = _as_text(result, lambda kind: kinds.is_nested(kind) or kinds.is_interval(kind), _json_or_text)
    _write_lines([flat.column_names])
    for batch in flat.to_batches(max_chunksize=_ROWS):
        _write_lines(zip(*(column.cast("string").to_pylist() for column in batch.columns), strict=True))


def _write_lines(rows: Iterable[Sequence[str | None]]) -> None:
    """Write rows of CSV. A text is quoted where it has to be: also an empty one, to tell it from null."""
    for row in rows:
        _write_bytes(f"{','.join(map(_csv, row))}\n".encode())


def _csv(text: str | None) -> str:
    if text is None:
        return ""
    is_plain = text and not any(sign in text for sign in ',"\n\r')
    escaped = text.replace('"', '""')
    return text if is_plain else f'"{escaped}"'


def _write_json(result: pa.Table) -> None:
    _require_json(result)
    _write_bytes(b"[")
    for index, row in enumerate(_rows(result)):
        if index > 0:
            _write_bytes(b",")
        _write_bytes(_json(row))
    _write_bytes(b"]\n")


def _write_parquet(result: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    if is_terminal(sys.stdout):
        raise UsageError(
            "Parquet cannot be written to a terminal", remedy="Write it to a file: overnight sql … > result.parquet"
        )
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(_as_text(result, kinds.is_interval, _plain), sink, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise QueryError(
            f"Parquet cannot hold the result: {error}", remedy="Cast that column: name::VARCHAR"
        ) from error
    _write_bytes(sink.getvalue().to_pybytes())


def _as_text(result: pa.Table, converts: Callable[[pa.DataType], bool], text: Callable[[Any], str]) -> pa.Table:
    import pyarrow as pa

    for index, field in enumerate(result.schema):
        if converts(field.type):
            values = _values(field.name, result.column(index))
            texts = [None if value is None else text(value) for value in values]
            result = result.set_column(index, field.name, pa.array(texts, pa.string()))
    return result


def _cell(value: Any, width: int = 200) -> str:
    text = "" if value is None else _readable(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def _readable(value: Any) -> str:
    """Return a value, which may be nested, as text for people, with numbers to six significant digits."""
    match value:
        case float():
            return f"{value:z.6g}"
        case tuple((months, days, nanoseconds)):  # an interval
            seconds = f"{nanoseconds / 1e9:z.6g} s"
            return f"{months * 30 + days} d {seconds}" if months or days else seconds
        case list():
            return f"[{', '.join(map(_readable, value))}]"
        case dict():
            return f"{{{', '.join(f'{_readable(key)}: {_readable(item)}' for key, item in value.items())}}}"
        case _:
            return str(value)


def _json(value: Any) -> bytes:
    import orjson

    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise QueryError(f"a value has no JSON form: {error}", remedy="Cast its column: name::VARCHAR") from error


def _json_or_text(value: Any) -> str:
    return _plain(value) if isinstance(value, tuple) else _json(value).decode()


def _plain(value: Any) -> Any:
    """Return a JSON value for a type that JSON lacks: a number for a decimal, ISO 8601 for an interval, else text."""
    match value:
        case Decimal() if value == value.to_integral_value():
            return int(value) if abs(value) < 2**63 else str(value)
        case Decimal():
            return float(value)
        case tuple((months, days, nanoseconds)):
            return f"P{months}M{days}DT{nanoseconds / 1e9:.9g}S"
        case _:
            return str(value)


def _markdown(result: pa.Table) -> str:
    cells = [result.column_names, *([_cell(value) for value in row.values()] for row in _rows(result))]
    names, *rows = [[cell.replace("|", "\\|").replace("\n", "<br>") for cell in line] for line in cells]
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _write_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
