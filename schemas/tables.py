"""The tables of the history as Arrow schemas: the columns, their types and units, and what each one means."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
"""Written into every file; readers refuse a higher one."""

TEXT = pa.string()
TIME = pa.timestamp("us", tz="UTC")
COUNT = pa.int32()
REAL = pa.float64()


def _table(name: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(column, kind, metadata={"comment": comment}) for column, kind, comment in columns]
    return pa.schema(fields, metadata={"overnight.table": name, "overnight.schema_version": str(SCHEMA_VERSION)})


PROGRAMS = _table(
    "programs",
    ("run_id", TEXT, "the run"),
    ("generation", COUNT, "its generation, from 1; 0 is the start program"),
    ("index", COUNT, "its place in the generation, from 0: prompts in order, samples within"),
    ("program_id", TEXT, "12 hex digits, unique in the history"),
    ("parent_ids", pa.list_(TEXT), "programs shown in the prompt, worst first"),
    ("island", COUNT, "number of the niche, where niches are islands; else null"),
    ("model", TEXT, "LiteLLM model string; empty for the start program"),
    ("prompt", TEXT, "what the model was sent"),
    ("completion", TEXT, "what it answered"),
    ("finish_reason", TEXT, "why the model stopped, in the provider's words"),
    (
        "body",
        TEXT,
        "body of the evolved function, dedented, without docstring; of several the text of all; empty if there is none",
    ),
    ("code_hash", TEXT, "16 hex digits that agree for bodies that differ only in layout"),
    ("outcome", TEXT, "one of the closed list; only `scored` has a score"),
    ("error", TEXT, "what went wrong; empty if it is scored"),
    ("output", TEXT, "what it printed, capped"),
    ("score", REAL, "the scores of all inputs reduced to one; higher is better"),
    ("scores", pa.list_(REAL), "score of each training input, in their order; null for those skipped"),
    ("confirmed_score", REAL, "score of its confirmation, split and in a fresh container; null if it got none"),
    ("wall_s", REAL, "seconds of wall clock in the sandbox"),
    ("cpu_s", REAL, "seconds of processor time"),
    ("peak_mib", REAL, "peak memory, MiB"),
    ("tokens_in", COUNT, "prompt tokens; with several samples in one request, the first carries them all"),
    ("tokens_out", COUNT, "completion tokens; likewise"),
    ("cost_usd", REAL, "price of the completion, USD; null if unknown"),
    ("latency_s", REAL, "seconds from request to answer"),
    ("asked_at", TIME, "when the model was asked"),
    ("judged_at", TIME, "when the verdict was there"),
    ("niche", TEXT, "niche of the programs shown, in which it is registered if it is scored; of islands the number"),
)

POPULATION = _table(
    "population",
    ("run_id", TEXT, "the run"),
    ("generation", COUNT, "generation in which it happened; 0 founds the niches"),
    ("step", COUNT, "order within the generation, from 0"),
    ("island", COUNT, "number of the niche, where niches are islands; else null"),
    ("event", TEXT, "`joined`: registered in the niche; `founded`: the niche was emptied, this is its first program"),
    ("program_id", TEXT, "the program"),
    ("cluster", TEXT, "12 hex digits of the signature: equal for programs with equal scores on every input"),
    ("niche", TEXT, "the niche; of islands the number"),
)

GENERATIONS = _table(
    "generations",
    ("run_id", TEXT, "the run"),
    ("generation", COUNT, "its number, from 1"),
    ("attempt", COUNT, "1 unless an earlier attempt failed"),
    ("night", COUNT, "the night it belongs to, from 1"),
    ("state", TEXT, "`committed` or `failed`"),
    (
        "place",
        COUNT,
        "when it came to its end, counted from 0; a failed one that has a place was given up, its last "
        "attempt; null if it was tried again",
    ),
    ("started_at", TIME, "start of the flow run"),
    ("ended_at", TIME, "end of it"),
    ("sample_s", REAL, "seconds from the first request to the last answer"),
    ("evaluate_s", REAL, "seconds from the first evaluation to the last verdict"),
    ("select_s", REAL, "seconds for registering and writing"),
    ("candidates", COUNT, "samples asked for"),
    ("outcomes", pa.map_(TEXT, COUNT), "how many candidates of each outcome"),
    ("best_score", REAL, "best score of the run after it"),
    ("best_program_id", TEXT, "the program that has it"),
    ("generation_best", REAL, "best score among its own candidates; null if none is scored"),
    ("reset_islands", pa.list_(COUNT), "islands that were emptied and founded anew at its end"),
    ("tokens_in", pa.int64(), "prompt tokens"),
    ("tokens_out", pa.int64(), "completion tokens"),
    ("cost_usd", REAL, "price of its completions, USD; unknown prices count as nothing"),
    ("flow_run_id", TEXT, "Prefect's id of the flow run"),
    ("error", TEXT, "why it failed; empty if it is committed"),
    ("reset_niches", pa.list_(TEXT), "niches that were emptied and founded anew at its end"),
)

RUNS = _table(
    "runs",
    ("run_id", TEXT, "the run"),
    ("problem", TEXT, "name of the problem"),
    ("title", TEXT, "what it is called in tables"),
    ("started_at", TIME, "when the run was made"),
    ("seed", pa.int64(), "everything random comes from it"),
    ("settings", TEXT, "all settings, JSON"),
    ("specification", TEXT, "the specification file, verbatim"),
    ("specification_hash", TEXT, "SHA-256 of it and of its files"),
    ("specification_path", TEXT, "name or relative path of the problem; absolute in runs of 0.1"),
    ("files", pa.map_(TEXT, TEXT), "files that go with it into the sandbox, and the SHA-256 of each"),
    ("dependencies", pa.list_(TEXT), "packages that the specification asks for"),
    ("image_id", TEXT, "id of the sandbox image"),
    ("versions", pa.map_(TEXT, TEXT), "of Overnight, Python and the libraries that matter"),
    ("rescored_from", TEXT, "the run whose programs, scored anew, are its generation 1; empty if there is none"),
)

FILES = _table(
    "files",
    ("path", TEXT, "where it is, from the specification's folder"),
    ("content", pa.binary(), "its bytes"),
)

FINALIST = pa.struct(
    [
        pa.field("program_id", TEXT),
        pa.field("train", REAL),
        pa.field("validation", REAL),
        pa.field("held_out", REAL),
    ]
)

NIGHTS = _table(
    "nights",
    ("run_id", TEXT, "the run"),
    ("night", COUNT, "its number, from 1"),
    ("started_at", TIME, "start"),
    ("ended_at", TIME, "end; null while it is under way or if it was killed, and the row then up to a minute old"),
    ("generations", COUNT, "generations committed"),
    ("samples", COUNT, "samples bought"),
    ("cost_usd", REAL, "USD; unknown prices count as nothing"),
    ("best_before", REAL, "best score before it"),
    ("best_after", REAL, "best score after it"),
    ("best_program_id", TEXT, "the program chosen as best: by validation score where there are validation inputs"),
    ("finalists", pa.list_(FINALIST), "best programs and the start program (first), scored on the other inputs"),
    ("stop_reason", TEXT, "deadline, budget, target, generations, samples, tokens, patience, interrupted or failed"),
    ("error", TEXT, "why it failed; empty if it did not"),
    ("paused_s", REAL, "seconds it waited for what did not answer or failed: engine, provider, disk"),
    ("paused_by", TEXT, "what that was, the last time; empty if it never waited"),
    ("flow_run_id", TEXT, "Prefect's id of the flow run"),
)

ALL = {"runs": RUNS, "nights": NIGHTS, "generations": GENERATIONS, "programs": PROGRAMS, "population": POPULATION}


def describe(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column."""
    return [(column.name, str(column.type), (column.metadata or {}).get(b"comment", b"").decode()) for column in schema]
