"""Arrow schemas of the history's tables: columns, types, units and meanings."""

from __future__ import annotations

import pyarrow as pa

from overnight.schemas.generation import StopReason

FORMAT = 2
"""Format number in every file; a higher one is refused."""

OLDEST_FORMAT = 2
"""The first format that is read, that of 0.3.0."""

FORMAT_KEY = b"overnight.schema_version"
"""Metadata that has it, as in all versions, so that each refuses files of other formats."""

TEXT = pa.string()
TIME = pa.timestamp("us", tz="UTC")
COUNT = pa.int32()
REAL = pa.float64()


def _table(name: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(column, kind, metadata={"comment": comment}) for column, kind, comment in columns]
    return pa.schema(fields, metadata={"overnight.table": name, FORMAT_KEY: str(FORMAT)})


PROGRAMS = _table(
    "programs",
    ("run_id", TEXT, "id of the run"),
    ("generation", COUNT, "number of the generation, from 1; 0 is the start program"),
    ("index", COUNT, "position in the generation, from 0: by prompt, then by sample"),
    ("program_id", TEXT, "12 hex digits, unique in the history"),
    ("parent_ids", pa.list_(TEXT), "programs shown in the prompt, the base last"),
    ("model", TEXT, "LiteLLM model string; empty for the start program"),
    ("prompt", TEXT, "prompt sent to the model"),
    ("completion", TEXT, "text of the model's answer"),
    ("finish_reason", TEXT, "why the model stopped, in the provider's words"),
    (
        "body",
        TEXT,
        "body of the evolved function, dedented, without docstring; the text of all if several evolve; empty if none "
        "was found",
    ),
    (
        "code_hash",
        TEXT,
        "20 hex digits that are equal for bodies that count as the same, as `search.novelty` says: those that differ "
        "only in form, or only in layout; 16 digits, computed in another way, if an earlier version wrote them",
    ),
    ("outcome", TEXT, "one of the closed list of outcomes; only `scored` has a score"),
    ("error", TEXT, "why the candidate was not scored; empty if it was"),
    ("output", TEXT, "output of the candidate, truncated"),
    ("score", REAL, "the scores of all inputs reduced to one; higher is better"),
    ("scores", pa.list_(REAL), "score on each training input, in order; null for skipped inputs"),
    ("confirmed_score", REAL, "score in the confirmation: isolated, in a fresh container; null if not confirmed"),
    ("wall_s", REAL, "wall-clock seconds in the sandbox"),
    ("cpu_s", REAL, "processor seconds"),
    ("input_wall_s", pa.list_(REAL), "wall-clock seconds on each training input that was finished, in order"),
    ("peak_mib", REAL, "peak memory, MiB"),
    (
        "calls",
        pa.list_(COUNT),
        "calls of what evolves on each training input that was finished, in order, where they were counted: of the "
        "start program, and of all if every evaluation is isolated; else null, and in older runs",
    ),
    ("tokens_in", COUNT, "prompt tokens; if one request returned several samples, all are counted for the first"),
    ("tokens_out", COUNT, "completion tokens, counted likewise"),
    ("cost_usd", REAL, "price of the completion, USD; null if unknown"),
    ("latency_s", REAL, "seconds from request to answer"),
    ("asked_at", TIME, "time of the request"),
    ("judged_at", TIME, "time at which its generation was settled, all of its prompts told and claims confirmed"),
    (
        "niche",
        TEXT,
        "niche of the programs shown, in which the program is registered if it is scored; of islands the number",
    ),
    ("idea", TEXT, "what the model says that it changed: its line `# idea: …`; null if it wrote none"),
    (
        "operator",
        TEXT,
        "what the prompt asked for, such as `refine` or `repair`; `tune` if an optimizer of numbers answered, `prune` "
        "if what no score needs was left out of a night's best; null if it left that to the model",
    ),
    (
        "gain",
        REAL,
        "what the program gained on its base, in units of the run: the median absolute deviation of its scores; 0 if "
        "there was no gain; operators and models are chosen by it; null where they are not",
    ),
    (
        "evaluations",
        COUNT,
        "number of evaluations behind an answer of the tuner or the pruner; null for answers of models",
    ),
    (
        "tokens_cached",
        COUNT,
        "prompt tokens among `tokens_in` that the provider read from its cache",
    ),
    ("machine", TEXT, "machine of a cluster that evaluated it; null if the machine of the night did"),
    (
        "asked_model",
        TEXT,
        "model that the prompt was for, where one of its fallbacks answered; null where the model answered itself",
    ),
    (
        "transcript",
        TEXT,
        "what an agent did, as JSON: its messages, the programs that it had scored, its queries; null for programs "
        "that no agent handed back",
    ),
    (
        "claimed_scores",
        pa.list_(REAL),
        "scores that the search went on with until the confirmation changed them; null if it changed nothing",
    ),
    (
        "metrics",
        pa.map_(TEXT, REAL),
        "further numbers of the scoring by name, each reduced over all training inputs as `scores` are, such as "
        "`metrics['seconds']`; of an unconfirmed program what it claimed",
    ),
    (
        "metrics_by_input",
        pa.map_(TEXT, pa.list_(REAL)),
        "the same on each training input that has a score, in order; null where the scoring gave none",
    ),
    (
        "notes",
        pa.list_(TEXT),
        "what the scoring says of each training input, in order, up to the last with a note",
    ),
    ("confirmed_metrics", pa.map_(TEXT, REAL), "`metrics` of the confirmation"),
)

POPULATION = _table(
    "population",
    ("run_id", TEXT, "id of the run"),
    ("generation", COUNT, "generation in which the change happened; 0 founds the niches"),
    ("step", COUNT, "order within the generation, from 0"),
    (
        "event",
        TEXT,
        "`joined`: the program was registered in the niche; `founded`: the niche was emptied, and this is its first "
        "program; `expanded`: it was the base of a prompt, and those that join next are its children; `removed`: its "
        "confirmation failed, so that it never counted; `corrected`: its confirmation gave it lower scores",
    ),
    ("program_id", TEXT, "id of the program"),
    ("cluster", TEXT, "12 hex digits of the signature: equal for programs with equal scores on every input"),
    ("niche", TEXT, "the niche; of islands the number"),
    (
        "prompt",
        COUNT,
        "index in the generation of the prompt whose results caused the change, or before which a claim was settled",
    ),
    (
        "samples",
        COUNT,
        "of an expansion, number of samples that got a verdict, failed ones too; null for other events",
    ),
)

PAID = pa.struct(
    [
        pa.field("night", COUNT),
        pa.field("model", TEXT),
        pa.field("purpose", TEXT),
        pa.field("tokens_in", pa.int64()),
        pa.field("tokens_out", pa.int64()),
        pa.field("tokens_cached", pa.int64()),
        pa.field("cost_usd", REAL),
        pa.field("unpriced", COUNT),
    ]
)

GENERATIONS = _table(
    "generations",
    ("run_id", TEXT, "id of the run"),
    ("generation", COUNT, "number of the generation, from 1"),
    ("attempt", COUNT, "number of the attempt: 1 unless an earlier one failed; 0 while it is put off"),
    ("night", COUNT, "number of the night, from 1"),
    (
        "state",
        TEXT,
        "`committed`; `failed`: the attempt failed, and the generation was tried again; `given up`: it was the last "
        "one, and `overnight retry` takes it; `put off`: its agent works while later ones are committed",
    ),
    (
        "place",
        COUNT,
        "position among all generations in the order in which they ended, from 0; set for a failed attempt if the "
        "generation was given up, or put off; null if it was tried again",
    ),
    ("started_at", TIME, "time at which the search began the generation"),
    ("ended_at", TIME, "time at which it was settled, before its commit"),
    ("sample_s", REAL, "seconds from the first request to the last answer"),
    ("evaluate_s", REAL, "seconds from the first evaluation to the last verdict"),
    ("select_s", REAL, "seconds for registering programs and writing"),
    ("candidates", COUNT, "number of samples requested"),
    ("outcomes", pa.map_(TEXT, COUNT), "number of candidates by outcome"),
    ("best_score", REAL, "score of the best program of the run after the generation"),
    ("best_program_id", TEXT, "that program"),
    ("generation_best", REAL, "best score among the generation's own candidates; null if none is scored"),
    ("tokens_in", pa.int64(), "prompt tokens of all in `paid`"),
    ("tokens_out", pa.int64(), "completion tokens, counted likewise"),
    ("cost_usd", REAL, "price of all in `paid`, USD; unknown prices count as 0"),
    ("flow_run_id", TEXT, "Prefect's id of the flow run"),
    ("error", TEXT, "why the attempt failed; empty if it was committed"),
    ("reset_niches", pa.list_(TEXT), "niches that were emptied and founded anew at the generation's end"),
    ("tokens_cached", pa.int64(), "prompt tokens that were read from a cache"),
    (
        "unused_usd",
        REAL,
        "part of cost_usd: price of answers of earlier attempts that no candidate has, and of answers to questions of "
        "the scoring",
    ),
    ("paid", pa.list_(PAID), "what was paid for it, as the view `costs` has it; null in older generations"),
    ("prompts", COUNT, "number of its prompts, where it ended before all were asked, since it lasted long; else null"),
    (
        "samples_in_flight",
        COUNT,
        "number of samples in flight after it, where slow answers made them fewer; else null",
    ),
    ("agent", TEXT, "model of the agent whose session beside prompts it is; null for all others"),
)

RUNS = _table(
    "runs",
    ("run_id", TEXT, "id of the run"),
    ("problem", TEXT, "name of the problem"),
    ("title", TEXT, "title of the problem, as shown in tables"),
    ("started_at", TIME, "time at which the run was created"),
    ("seed", pa.int64(), "seed of all random choices"),
    ("settings", TEXT, "all settings, JSON"),
    ("specification", TEXT, "the specification file, verbatim"),
    ("specification_hash", TEXT, "SHA-256 of the specification and its files"),
    ("specification_path", TEXT, "name or relative path of the problem"),
    ("files", pa.map_(TEXT, TEXT), "files that are copied into the sandbox with the specification: path to SHA-256"),
    ("dependencies", pa.list_(TEXT), "packages that the specification requires"),
    ("image_id", TEXT, "id of the sandbox image"),
    ("versions", pa.map_(TEXT, TEXT), "versions of Overnight, Python and the main libraries"),
    (
        "rescored_from",
        TEXT,
        "run whose programs, scored again, are generation 1 of this run, or the flags `--start` that name these; empty "
        "if there is none",
    ),
)

FILES = _table(
    "files",
    ("path", TEXT, "path relative to the specification's folder"),
    ("content", pa.binary(), "content"),
)

FINALIST = pa.struct(
    [
        pa.field("program_id", TEXT),
        pa.field("train", REAL),
        pa.field("validation", REAL),
        pa.field("held_out", REAL),
    ]
)

MACHINE_FAULTS = pa.struct([pa.field("machine", TEXT), pa.field("faults", COUNT)])

PAUSE = pa.struct([pa.field("cause", TEXT), pa.field("seconds", REAL)])

NIGHTS = _table(
    "nights",
    ("run_id", TEXT, "id of the run"),
    ("night", COUNT, "number of the night, from 1"),
    ("started_at", TIME, "start of the night"),
    (
        "ended_at",
        TIME,
        "end of the night; null if it is under way or was killed, and the other columns may then be a minute old",
    ),
    ("generations", COUNT, "number of generations committed"),
    ("samples", COUNT, "number of samples of these generations"),
    (
        "cost_usd",
        REAL,
        "price of all answers that came in the night, USD, also of those that no program has, or a later night's; "
        "unknown prices count as 0",
    ),
    ("best_before", REAL, "best score before the night"),
    ("best_after", REAL, "score of the best program of the run after the night"),
    ("best_program_id", TEXT, "program chosen as best: by validation score if there are validation inputs"),
    ("finalists", pa.list_(FINALIST), "the start program, then the best programs, scored on the other inputs"),
    ("stop_reason", TEXT, f"one of {', '.join(StopReason)}"),
    ("error", TEXT, "why the night failed; empty if it did not"),
    ("paused_s", REAL, "seconds spent waiting during outages of the engine, a provider or the disk"),
    ("paused_by", TEXT, "cause of the last pause; empty if there was none"),
    (
        "pauses",
        pa.list_(PAUSE),
        "causes of its pauses, with seconds; null if it had none, and in older nights",
    ),
    ("flow_run_id", TEXT, "Prefect's id of the flow run"),
    (
        "machine_faults",
        pa.list_(MACHINE_FAULTS),
        "machines of a cluster that lost programs or could not be used, and how often; null in older nights",
    ),
    ("samples_in_flight", COUNT, "number of samples in flight at a time; null in older nights"),
    ("first_generation", COUNT, "number of the generation that it began with; null in older nights"),
    (
        "warning",
        TEXT,
        "set if 95 % or more of at least 50 samples were not scored, those apart that the sandbox failed on; null in "
        "older nights",
    ),
    (
        "alive_until",
        TIME,
        "time before which a night that is alive writes its row again; null in older nights",
    ),
    ("given_up", TEXT, "why nobody goes on with a scheduled night that died; null for all others"),
)

INTERVENTIONS = _table(
    "interventions",
    ("run_id", TEXT, "id of the run"),
    ("id", TEXT, "distinguishes it from all others of the run"),
    (
        "kind",
        TEXT,
        "`hint`: prompts tell the model a text; `pin`: prompts have a program as their base; `withdrawal`: hints and "
        "pins before it end; `drop`: a program counts as failed",
    ),
    ("asked_at", TIME, "time at which a person asked for it"),
    ("author", TEXT, "login name of the person"),
    ("text", TEXT, "what a hint says, or why a program is dropped; else empty"),
    ("program_id", TEXT, "program that is pinned or dropped; else empty"),
    ("prompts", COUNT, "number of prompts that a hint or a pin is for; null for all until it is withdrawn"),
    ("with_descendants", pa.bool_(), "whether later answers that are built on a dropped program fail, too"),
    ("generation", COUNT, "generation of the first prompt that it may change"),
    ("prompt", COUNT, "index of that prompt in its generation, from 0"),
    ("place", COUNT, "of a drop, place of the last generation that the program counted in; else 0"),
    ("night", COUNT, "night that took it; null if none was under way"),
)

QUESTIONS = _table(
    "questions",
    ("run_id", TEXT, "id of the run"),
    ("generation", COUNT, "generation that it is committed with: that under way when it was answered, or the next"),
    (
        "key",
        TEXT,
        "32 hex digits of model, settings, question, and its number among equal ones of an evaluation on an input",
    ),
    ("question", TEXT, "what the scoring asked, by `funsearch.ask`"),
    ("answer", TEXT, "the model's answer, which counts wherever it is asked again in the run; null if it was refused"),
    ("model", TEXT, "LiteLLM model string of the model that answered"),
    ("tokens_in", COUNT, "prompt tokens"),
    ("tokens_out", COUNT, "completion tokens"),
    ("tokens_cached", COUNT, "prompt tokens among `tokens_in` that the provider read from its cache"),
    ("cost_usd", REAL, "price of the answer, USD; null if unknown"),
    (
        "code_hash",
        TEXT,
        "`code_hash` of the candidate that was scored when it was asked; null for other programs",
    ),
    ("input", COUNT, "position of the input that was scored then, from 1"),
    ("asked_at", TIME, "time of the request"),
)

ALL = {
    "runs": RUNS,
    "nights": NIGHTS,
    "generations": GENERATIONS,
    "programs": PROGRAMS,
    "population": POPULATION,
    "interventions": INTERVENTIONS,
    "questions": QUESTIONS,
}


JOURNALS = _table(
    "journals",
    ("run_id", TEXT, "id of the run"),
    ("generation", COUNT, "number of the generation, which is not committed"),
    *((part.name, part.type, "") for part in PAID),
)
"""Sums of the answers that are paid for and in no generation yet, which are read from journals."""


ALIVE = _table("alive", ("run_id", TEXT, "id of a run, the last night of which holds its lock on this machine"))
"""Runs with a night under way here, whatever the row of that night says."""


def describe(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Return the name, type and meaning of each column."""
    return [(column.name, str(column.type), (column.metadata or {}).get(b"comment", b"").decode()) for column in schema]
