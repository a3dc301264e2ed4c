"""How the answer to a query is written: as a table to look at, or in a format that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from flows.cli.printing import out, table
from flows.cli.terminal import is_terminal
from schemas.errors import QueryError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["table", "csv", "json", "jsonl", "markdown", "parquet"]

_ROWS = 10_000
"""So many are Python objects at a time, which take several times the memory of the answer."""


def write_result(answer: pa.Table, style: Format) -> None:
    """Writes a table to stdout. Of columns with one name the later ones are called `score_1`, `score_2`, ….

    Raises:
        UsageError: If it is Parquet and stdout a terminal.
        QueryError: If the format cannot hold a column.
    """
    answer = answer.rename_columns(_distinct(answer.column_names))
    match style:
        case "table":
            _write_table(answer)
        case "csv":
            _write_csv(answer)
        case "json":
            _write_json(answer)
        case "jsonl":
            for row in _rows(answer):
                _write_bytes(_json(row) + b"\n")
        case "markdown":
            _write_bytes(_markdown(answer).encode())
        case "parquet":
            _write_parquet(answer)
    sys.stdout.flush()


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as DuckDB tells columns of a subquery apart."""
    given: list[str] = []
    for name in names:
        free = (name, *(f"{name}_{count}" for count in range(1, len(names) + 1)))
        given.append(next(one for one in free if one not in given and (one == name or one not in names)))
    return given


def _rows(answer: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in answer.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist(maps_as_pydicts="strict")


def _write_table(answer: pa.Table) -> None:
    import pyarrow.types as kinds

    numbers = [field.name for field in answer.schema if kinds.is_floating(field.type) or kinds.is_integer(field.type)]
    rows = [[_cell(value) for value in row.values()] for row in _rows(answer)]
    out().print(table(answer.column_names, rows, right=numbers))


def _write_csv(answer: pa.Table) -> None:
    import pyarrow.csv
    import pyarrow.types as kinds

    # CSV has no nesting: lists, maps and structs are JSON in it.
    flat = _as_text(answer, lambda kind: kinds.is_nested(kind) or kinds.is_interval(kind), _json_or_text)
    pyarrow.csv.write_csv(flat, sys.stdout.buffer)


def _write_json(answer: pa.Table) -> None:
    _write_bytes(b"[")
    for place, row in enumerate(_rows(answer)):
        _write_bytes(b"," * (place > 0) + _json(row))
    _write_bytes(b"]\n")


def _write_parquet(answer: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    if is_terminal(sys.stdout):
        raise UsageError("Parquet is not for a terminal", remedy="Send it to a file: overnight sql … > answer.parquet")
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(_as_text(answer, kinds.is_interval, _plain), sink, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise QueryError(f"Parquet cannot hold it: {error}", remedy="Cast that column: name::VARCHAR") from error
    _write_bytes(sink.getvalue().to_pybytes())


def _as_text(answer: pa.Table, is_meant: Callable[[pa.DataType], bool], text: Callable[[Any], str]) -> pa.Table:
    """The answer with the columns of some types as text."""
    import pyarrow as pa

    for place, field in enumerate(answer.schema):
        if is_meant(field.type):
            values = answer.column(place).to_pylist(maps_as_pydicts="strict")
            texts = [None if value is None else text(value) for value in values]
            answer = answer.set_column(place, field.name, pa.array(texts, pa.string()))
    return answer


def _cell(value: Any, width: int = 200) -> str:
    text = "" if value is None else _shown(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def _shown(value: Any) -> str:
    """A value as people write it, nested ones too, with numbers as short within them as beside them."""
    match value:
        case float():
            return f"{value:.6g}"
        case tuple((months, days, nanoseconds)):  # an interval
            return f"{months * 30 + days} d " * any((months, days)) + f"{nanoseconds / 1e9:.6g} s"
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return f"{{{', '.join(f'{_shown(key)}: {_shown(one)}' for key, one in value.items())}}}"
        case _:
            return str(value)


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _json_or_text(value: Any) -> str:
    return _plain(value) if isinstance(value, tuple) else _json(value).decode()


def _plain(value: Any) -> Any:
    """What JSON has in place of what it has not: numbers for decimals, ISO 8601 for intervals, text for the rest."""
    match value:
        case Decimal() if value == value.to_integral_value():
            return int(value) if abs(value) < 2**63 else str(value)
        case Decimal():
            return float(value)
        case tuple((months, days, nanoseconds)):
            return f"P{months}M{days}DT{nanoseconds / 1e9:.9g}S"
        case _:
            return str(value)


def _markdown(answer: pa.Table) -> str:
    lines = [answer.column_names, ["---"] * answer.num_columns]
    lines += [
        [_cell(value).replace("|", "\\|").replace("\n", "<br>") for value in row.values()] for row in _rows(answer)
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _write_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
