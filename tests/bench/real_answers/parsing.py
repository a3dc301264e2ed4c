"""Every raw answer through our codecs, beside the program that it became in its source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from overnight.schemas.errors import SpecificationError
from overnight.tasks.program import python_source
from overnight.tasks.program.marked_file import MarkedFile, read_marked
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.codecs import ParsedCompletion, codec_of
from overnight.tasks.sample.codecs.file import parse_edits
from tests.bench.real_answers import store

PARSED_SCHEMA = pa.schema([(name, pa.string()) for name in ("program_id", "kind", "error")])

FILE = "main.py"


def parse_all(folder: Path) -> None:
    """Parse the answers of a store that became a program of a known parent, and keep what became of each."""
    database = store.connect(folder)
    starts = store.rows(database, "SELECT run_id, body FROM answers WHERE sample = 0 AND body <> ''")
    texts = {row["run_id"]: row["body"] for row in starts}
    query = "SELECT * FROM answers WHERE completion <> '' AND parent <> '' AND body <> ''"
    rows = [compare(row, texts) for row in store.rows(database, query)]
    store.write(folder / store.PARSED, rows, PARSED_SCHEMA)


def compare(row: dict[str, Any], texts: Mapping[str, str]) -> dict[str, str]:
    """Return what our codec makes of an answer, by kind.

    `same` is the same program. Else the answer was `cut off`, and its source took its text for a program; or the source
    let it change what is `outside of the marks`; or it looked for old lines `inside a line`; or our outcome.

    Args:
        row: Row of an answer.
        texts: Texts of the start programs, or of our specifications, by run.
    """
    if row["source"] == "overnight":
        skeleton = read_specification(texts[row["run_id"]], FILE)
        shown = max(map(int, re.findall(r"_v(\d+)\b", row["prompt"])))
        parsed = codec_of(skeleton.kind).parse(row["completion"], skeleton, shown, row["parent"])
        kind = "same" if parsed.code_hash == python_source.code_hash(row["body"]) else "different"
    else:
        skeleton = _skeleton(row["parent"], texts[row["run_id"]])
        parsed = codec_of(skeleton.kind).parse(answer_of(row), skeleton, 1, "")
        kind = _kind(parsed, skeleton, row)
    return {"program_id": row["program_id"], "kind": kind, "error": parsed.verdict.error if parsed.verdict else ""}


def _skeleton(parent: str, start: str) -> MarkedFile:
    """Return the parent with its marks; the start program where the parent lost one."""
    try:
        return read_marked(parent, FILE)
    except SpecificationError:
        return read_marked(start, FILE)


def answer_of(row: dict[str, Any]) -> str:
    """Return the answer as the model gave it: ShinkaEvolve keeps a rewritten file without its fence."""
    if row["source"] == "shinka" and row["form"] == "whole":
        return f"```python\n{row['completion']}\n```\n"
    return row["completion"]


def _kind(parsed: ParsedCompletion, skeleton: MarkedFile, row: Mapping[str, Any]) -> str:
    if parsed.verdict is not None:
        is_cut = row["completion"].count("```") % 2 == 1
        return "cut off" if is_cut else parsed.verdict.outcome.value
    theirs = file_hash(row["body"])
    if file_hash(skeleton.with_body(parsed.body)) == theirs:
        return "same"
    if file_hash(_replaced(row["parent"], row["completion"])) == theirs:
        return "inside a line"
    try:
        block = read_marked(row["body"], FILE).start_body
    except SpecificationError:
        return "different"
    return "outside of the marks" if skeleton.code_hash(block) == parsed.code_hash else "different"


def _replaced(parent: str, answer: str) -> str:
    """Return the parent after edits at the first place of each old text, in the middle of a line, too."""
    for old, new in parse_edits(answer):
        parent = parent.replace(old.rstrip("\n"), new.rstrip("\n"), 1)
    return parent


def file_hash(text: str) -> str:
    """Return the hash of a file's syntax tree; of its text if it has none."""
    return MarkedFile(FILE, text, ("", ""), text).code_hash(text)
