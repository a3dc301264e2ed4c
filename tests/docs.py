"""Writes the generated parts of the READMEs: all tables that follow from the code; `PARTS` has them.

    python -m tests.docs            # rewrite them: `make docs`

A generated part stands between a line `<!-- generated: NAME (make docs) -->` and `<!-- end of generated text -->`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from docstring_parser import parse_from_object
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from overnight.flows.cli.main import app
from overnight.flows.formatting import score, scores_beside
from overnight.flows.night.stop_conditions import NightlyConditions, StopConditions, flag_of
from overnight.schemas.agent_settings import AgentSettings
from overnight.schemas.command_settings import CommandSettings
from overnight.schemas.errors import EXIT_CODES
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.sampling_settings import Model
from overnight.schemas.settings import Known, Settings
from overnight.schemas.views import MACROS, VIEWS, cookbook_questions
from overnight.tasks.problems import find_builtin, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.recorded import RecordedNight
from overnight.tasks.program.user_config import OF_THE_USER
from tests.recorded import write_index

ROOT = Path(__file__).parents[1]

_PART = re.compile(
    r"(?P<begin>^<!-- generated: (?P<name>\w+) \(make docs\) -->\n).*?(?P<end>^<!-- end of generated text -->$)",
    re.MULTILINE | re.DOTALL,
)
_TITLES = {
    "": "The problem",
    "generated": "Inputs that are drawn",
    "known": "Known scores",
    "command": "The command of a directory",
    "limits": "Limits",
    "search": "Search",
    "sampling": "Sampling",
    "agent": "Agents",
    "sandbox": "Sandbox",
    "tuner": "Tuner",
    "objectives": "Objectives",
}


def settings() -> str:
    """Return one table per section of the settings, then the keys of a model."""
    sections = {"": Settings} | {name: info.annotation for name, info in Settings.model_fields.items() if _tables(info)}
    parts = [
        f"## {_TITLES[name]}\n\n{_settings_table(section, f'{name}.' if name else '')}"
        for name, section in sections.items()
    ]
    models = "Each of `sampling.models` is a name, `NAME=WEIGHT`, or a table with these keys."
    return "\n\n".join([*parts, f"## Models\n\n{models}\n\n{_settings_table(Model, '')}"])


def user_sections() -> str:
    """Return a table of the settings that are a user's, and of no run."""
    sections = OF_THE_USER | {"agents.NAME": AgentSettings, "commands.NAME": CommandSettings}
    del sections["agents"], sections["commands"]
    rows = [row for name, section in sections.items() for row in _settings_rows(section, f"{name}.")]
    return _table(("setting", "default", "meaning"), rows)


def _tables(info: FieldInfo) -> list[type[BaseModel]]:
    """Return the models of nested tables: one of a section, several where a `name` tells them apart."""
    kinds = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, BaseModel) and kind is not Model]


def _settings_table(section: Any, prefix: str) -> str:
    return _table(("setting", "default", "meaning"), _settings_rows(section, prefix))


def _settings_rows(section: Any, prefix: str) -> list[tuple[str, str, str]]:
    """Return the rows of a section; tables within it follow in place, but those of all settings have their own."""
    rows: list[tuple[str, str, str]] = []
    meanings = _meanings(section)
    for name, info in section.model_fields.items():
        tables = _tables(info)
        if not tables:
            rows.append((f"`{prefix}{name}`", _default(info), meanings.get(name) or info.description or ""))
        elif section is not Settings:
            rows += _rows_of_kinds(tables, f"{prefix}{name}.")
    return rows


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a section, its base classes' included, in one line."""
    parsed = [parse_from_object(kind) for kind in reversed(section.__mro__) if issubclass(kind, BaseModel)]
    return {one.arg_name: _in_one_line(one.description) for each in parsed for one in each.params}


def _in_one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _rows_of_kinds(tables: Sequence[type[BaseModel]], prefix: str) -> list[tuple[str, str, str]]:
    """Return the rows of tables of which one is chosen by its name; each row once, with the names that have it."""
    defaults: dict[tuple[str, str], str] = {}
    names: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for setting, default, meaning in _settings_rows(table, prefix):
            defaults.setdefault((setting, meaning), default)
            names.setdefault((setting, meaning), []).append(f"`{table.model_fields['name'].default}`")
    return [
        (setting, default, meaning if len(having) == len(tables) else f"{', '.join(having)}: {meaning}")
        for ((setting, meaning), default), having in zip(defaults.items(), names.values(), strict=True)
    ]


def _default(info: FieldInfo) -> str:
    """Return the default as a reader writes it, or nothing where there is none or it is empty."""
    value = info.get_default(call_default_factory=True, validated_data={})
    if info.is_required() or value in ("", (), None):
        return ""
    if isinstance(value, tuple):
        value = ", ".join(str(item if isinstance(item, str) else getattr(item, "name", item)) for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def views() -> str:
    """Return the tables of the views and of the macros."""
    one_row = _table(("view", "content"), ((f"`{name}`", view.description) for name, view in VIEWS.items()))
    answers = _table(("macro", "answers"), ((f"`{macro.call}`", macro.description) for macro in MACROS.values()))
    return f"{one_row}\n\n{answers}"


def cookbook() -> str:
    """Return the questions of the cookbook as a list."""
    return "\n".join(f"- {question}" for question in cookbook_questions())


def columns() -> str:
    """Return a table of columns per view, with the types that DuckDB gives them."""
    from overnight.tasks.history.database import Database

    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder))
        found = database.rows(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'main' AND NOT internal"
        )
        database.close()
    types = {(row["table_name"], row["column_name"]): row["data_type"] for row in found}
    parts = [
        f"### {name}\n\n{view.description[0].upper()}{view.description[1:]}.\n\n"
        + _table(
            ("column", "type", "meaning"),
            ((f"`{column}`", types[name, column], meaning) for column, meaning in view.columns.items()),
        )
        for name, view in VIEWS.items()
    ]
    return "\n\n".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(heads), f"|{'---|' * len(heads)}"]
    lines += [_row([cell.replace("|", "\\|") for cell in row]) for row in rows]
    return "\n".join(lines)


def stop_conditions() -> str:
    """Return a table of the flags that end a night, with the texts of `--help`."""
    fields = StopConditions.model_fields
    names = ["until", *NightlyConditions.model_fields]
    rows = [(f"`--{flag_of(name)}`", _in_one_line(fields[name].description)) for name in names]
    return _table(("flag", "meaning"), rows)


def run_options() -> str:
    """Return a table of the flags that are fixed when a run is created: those of `run` that `resume` does not have."""
    resume, run = (app[name].assemble_argument_collection(parse_docstring=True) for name in ("resume", "run"))
    kept = {flag.name for flag in resume}
    fixed = [flag for flag in run.filter_by(show=True) if flag.name.startswith("--") and flag.name not in kept]
    return _table(("flag", "meaning"), ((f"`{flag.name}`", _in_one_line(flag.parameter.help)) for flag in fixed))


def outcomes() -> str:
    """Return a table of all outcomes."""
    rows = [(f"`{kind}`", kind.facts.meaning) for kind in Outcome]
    return _table(("outcome", "what became of the candidate"), rows)


def exit_codes() -> str:
    """Return a table of all exit codes."""
    return _table(("exit code", "meaning"), ((f"{code}", meaning) for code, meaning in EXIT_CODES.items()))


def operators() -> str:
    """Return a table of all operators."""
    rows = [(f"`{one}`", one.facts.meaning) for one in Operator]
    return _table(("operator (`search.operators`)", "asks for"), rows)


def recorded_nights() -> str:
    """Return a table of the recorded nights."""
    heads = ("problem", "answers", "tokens", "start", "without a model", "found", "best known", "held out", "read it")
    nights = recorded.nights()
    rows = [_night_row(name, load_problem(find_builtin(name)).settings.known, night) for name, night in nights.items()]
    models = sorted({model for night in nights.values() for model in night.models})
    said = f"Answers are of {', '.join(f'`{model}`' for model in models)}, as the records say."
    lines = [_row(heads), f"|---|{'--:|' * 7}---|", *map(_row, rows)]
    return "\n\n".join(["\n".join(lines), said])


def _night_row(name: str, known: Known, night: RecordedNight) -> tuple[str, ...]:
    best, found = scores_beside(known.best, night.found)
    is_level = (line := known.best_on("train")) is not None and night.found >= line - 1e-6
    held_out = "–" if night.found_held_out is None else f"{score(night.found_held_out)} ({score(night.start_held_out)})"
    scores = (score(night.start), score(known.honesty), f"**{found}**" if is_level else found)
    best += ", proven" * known.proven + known.best_name.removeprefix("best known")
    tokens = "–" if night.tokens is None else f"{night.tokens:,}"
    cells = (f"{night.answers}", tokens, *(re.sub(r"\B-", "−", cell) for cell in (*scores, best, held_out)))
    return (f"`{name}`", *cells, f"`overnight import {name}`")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "outcomes": outcomes,
    "stop_conditions": stop_conditions,
    "run_options": run_options,
    "exit_codes": exit_codes,
    "operators": operators,
    "user_sections": user_sections,
    "views": views,
    "cookbook": cookbook,
    "columns": columns,
    "recorded_nights": recorded_nights,
}
"""The generated parts by name."""


def readmes() -> list[Path]:
    """Return the READMEs of the repository and the pages beside them, the main README first."""
    rooms = ("flows", "infra", "schemas", "tasks", "tests")
    return [ROOT / "README.md", *sorted(path for room in rooms for path in (ROOT / room).rglob("*.md"))]


def generated_in(text: str) -> list[str]:
    """Return the names of the generated parts in a text."""
    return [part["name"] for part in _PART.finditer(text)]


def without_generated(text: str) -> str:
    """Return what people wrote of a text."""
    return _PART.sub("", text)


def rewrite(text: str) -> str:
    """Return the text with its generated parts as the code has them now.

    Raises:
        KeyError: If a part has a name that nothing generates.
    """
    return _PART.sub(lambda part: f"{part['begin']}\n{PARTS[part['name']]()}\n\n{part['end']}", text)


def main() -> int:
    """Rewrite the index of recorded nights and every README in place, and name those that changed on stderr."""
    if write_index():
        sys.stderr.write(f"wrote {recorded.INDEX.resolve().relative_to(ROOT)}\n")
    for path in readmes():
        before = path.read_text(encoding="utf-8")
        after = rewrite(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stderr.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
