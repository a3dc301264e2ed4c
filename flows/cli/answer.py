"""How the answer to a query is written: as a table to look at, or in a format that other programs read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from flows.cli.text import out, printable, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["table", "csv", "json", "jsonl", "markdown", "parquet"]


def write_answer(answer: pa.Table, style: Format) -> None:
    """Writes a table to stdout."""
    match style:
        case "table":
            _write_table(answer)
        case "csv":
            import pyarrow.csv

            pyarrow.csv.write_csv(_flat(answer), sys.stdout.buffer)
        case "json":
            _write_bytes(_json(answer.to_pylist()) + b"\n")
        case "jsonl":
            _write_bytes(b"".join(_json(row) + b"\n" for row in answer.to_pylist()))
        case "markdown":
            _write_bytes(_markdown(answer).encode())
        case "parquet":
            _write_parquet(answer)


def _write_table(answer: pa.Table) -> None:
    import pyarrow.types as kinds

    numbers = [field.name for field in answer.schema if kinds.is_floating(field.type) or kinds.is_integer(field.type)]
    rows = [[_cell(value) for value in row.values()] for row in answer.to_pylist()]
    out().print(table(answer.column_names, rows, right=numbers))


def _write_parquet(answer: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", remedy="Send it to a file: overnight sql … > answer.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(answer, sink, compression="zstd")
    _write_bytes(sink.getvalue().to_pybytes())


def _cell(value: Any, width: int = 200) -> str:
    match value:
        case None:
            text = ""
        case float():
            text = f"{value:.6g}"
        case tuple() if len(value) == 3:  # an interval: months, days, nanoseconds
            text = f"{value[0] * 30 + value[1]} d " * any(value[:2]) + f"{value[2] / 1e9:.6g} s"
        case _:
            text = printable(_nested(value))
    return text if len(text) <= width else text[: width - 1] + "…"


def _nested(value: Any) -> str:
    """Lists, maps and structs as people write them, their numbers as short as those beside them."""
    match value:
        case float():
            return f"{value:.6g}"
        case [tuple(), *_]:  # a map
            return _nested(dict(value))
        case list():
            return f"[{', '.join(map(_nested, value))}]"
        case dict():
            return f"{{{', '.join(f'{_nested(key)}: {_nested(one)}' for key, one in value.items())}}}"
        case _:
            return str(value)


def _flat(answer: pa.Table) -> pa.Table:
    """Lists, maps and structs as JSON text: CSV has no nesting."""
    import pyarrow as pa
    import pyarrow.types as kinds

    for place, field in enumerate(answer.schema):
        if kinds.is_nested(field.type):
            texts = [None if value is None else _json(value).decode() for value in answer.column(place).to_pylist()]
            answer = answer.set_column(place, field.name, pa.array(texts, pa.string()))
    return answer


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def _markdown(answer: pa.Table) -> str:
    lines = [answer.column_names, ["---"] * answer.num_columns]
    lines += [
        [_cell(value).replace("|", "\\|").replace("\n", "<br>") for value in row.values()] for row in answer.to_pylist()
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _write_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
