"""Read algorithmic problems of Frontier-CS: `config.yaml`, `statement.txt`, `testdata/`, a checker or an interactor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import File
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.formats.directory import Task, load_directory
from overnight.tasks.problems.loading.task_directory import bridge_file, read_yaml
from overnight.tasks.program import problem_folder

CONFIG, STATEMENT, TESTLIB, PROGRAM = "config.yaml", "statement.txt", "testlib.h", "solution.cpp"
BRIDGE = "overnight_frontier_cs.py"

_TESTLIB_IN_CLONE = f"judge/include/{TESTLIB}"
"""Header that checkers include in a clone, relative to the folder of its `problems/`."""

_START = "#include <bits/stdc++.h>\nusing namespace std;\n\nint main() {\n    return 0;\n}\n"
"""Start program where the problem's folder has none: it compiles, and answers nothing."""

_USED = {
    *("type", "checker", "interactor", "time", "time_limit", "memory", "memory_limit", "subtasks"),
    *("input_prefix", "output_prefix", "input_suffix", "output_suffix"),
}

_WITHOUT_EFFECT = {"filename", "checker_type", "cheker_type", "interactor_type"}
"""Settings that their judge reads but that change nothing here, or nothing at all (one is misspelt there)."""

_COMPILE_S, _CHECK_S, _COMPILE_MIB = 120.0, 20.0, 1280
"""Seconds for compiling both programs and for one check, and memory for that beside the program's own."""

_MAX_CASES = 10_000

_MOST_S, _MOST_MIB = 1e6, 2.0**20
"""Largest limits of a case that are taken for meant."""


class FrontierCS(ProblemFormat):
    """Format of the algorithmic track; a C++ program is judged on each case by the problem's own checker."""

    @property
    def added_files(self) -> tuple[str, ...]:
        return (BRIDGE, TESTLIB, PROGRAM)

    def recognises(self, named: NamedProblem) -> bool:
        folder = named.path
        if not folder.is_dir() or "evaluate" in named.command or not (folder / "testdata").is_dir():
            return False
        return all(problem_folder.locate(folder, name) is not None for name in (CONFIG, STATEMENT))

    def load(self, named: NamedProblem) -> Problem:
        return load_directory(named, _task(named))

    def explain_missing(self, named: NamedProblem) -> str:
        names = [name for name in (CONFIG, STATEMENT) if not problem_folder.has_file(named.path, name)]
        if len(names) == 2 or not (named.path / "testdata").is_dir():
            return ""
        return f"testdata/ looks like one of Frontier-CS, but {names[0]} is missing: copy it from their repository"


FORMAT = FrontierCS()


def _task(named: NamedProblem) -> Task:
    """Translate the settings of a problem."""
    folder = named.path
    config = read_yaml(folder / CONFIG)
    kind, judge = _judge(config)
    cases = _cases(config)
    names = [f"testdata/{case[part]}" for case in cases for part in ("input", "answer")]
    compiled = [f"{judge}.bin"] if problem_folder.has_file(folder, f"{judge}.bin") else []
    seconds, memory = (max(case[limit] for case in cases) for limit in ("time_s", "memory_mib"))
    program = named.program or PROGRAM
    settings = {
        "statement": _statement(folder, kind, seconds, memory),
        "inputs": cases,
        "files": list(dict.fromkeys([judge, *compiled, *names])),
        "score_name": "score of 100",
        "command": {"program": program, "evaluate": ["python3", BRIDGE, "{program}", "{input}", kind, judge]},
        "limits": {
            "wall_s": _COMPILE_S + _CHECK_S + 10 * seconds,
            "memory_mib": memory + _COMPILE_MIB,
            "output_kib": 1024,
            "scratch_mib": 512,
        },
        # A program that is cut off by its time limit, or draws random numbers, gets another score the next time.
        "sandbox": {"confirm": "never"},
    }
    added = [bridge_file(BRIDGE), *_testlib(folder)]
    if not problem_folder.has_file(folder, program):
        added.append(File(PROGRAM, _START.encode()))
    return Task(settings, tuple(added), tuple(_notes(config, judge, has_binary=bool(compiled))))


def _judge(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the kind of judge and the name of its source."""
    kinds = {"default": ("checker", "chk.cc"), "interactive": ("interactor", "interactor.cc")}
    found = kinds.get(str(config.get("type") or "default"))
    if found is None:
        raise _refusal(f"type is {config.get('type')!r}, expected default or interactive")
    kind, name = found
    return kind, str(config.get(kind) or name)


def _cases(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cases of all subtasks, each with its files and limits, as their judge numbers them."""
    subtasks = config.get("subtasks")
    if not isinstance(subtasks, list) or not all(isinstance(subtask, dict) for subtask in subtasks):
        raise _refusal(f"subtasks are {subtasks!r}, expected a list of tables")
    cases: list[dict[str, Any]] = []
    for subtask in subtasks:
        found = _named_cases(subtask) or _numbered_cases(subtask, config, len(cases) + 1)
        cases += [
            {"input": str(case.get("input")), "answer": str(case.get("output")), **_limits(case, subtask, config)}
            for case in found
        ]
        if len(cases) > _MAX_CASES:
            break  # where many subtasks have many cases each, not all of them are listed in vain
    if not 0 < len(cases) <= _MAX_CASES:
        raise _refusal(f"{len(cases)} cases, expected 1 to {_MAX_CASES:,}")
    return cases


def _named_cases(subtask: Mapping[str, Any]) -> list[dict[str, Any]]:
    cases = subtask.get("cases")
    if cases is not None and not (isinstance(cases, list) and all(isinstance(case, dict) for case in cases)):
        raise _refusal(f"cases are {cases!r}, expected a list of tables")
    return cases or []


def _numbered_cases(subtask: Mapping[str, Any], config: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    count = subtask.get("n_cases")
    if not isinstance(count, int) or not 0 <= count <= _MAX_CASES:
        raise _refusal(f"n_cases is {count!r}, expected a number of cases")
    around = {
        part: (config.get(f"{part}_prefix") or "", config.get(f"{part}_suffix") or suffix)
        for part, suffix in (("input", ".in"), ("output", ".ans"))
    }
    return [
        {part: f"{before}{number}{after}" for part, (before, after) in around.items()}
        for number in range(first, first + count)
    ]


def _limits(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that the first table sets which sets any, else their judge's defaults."""
    time, memory = (
        next(filter(None, (table.get(f"{name}_limit") or table.get(name) for table in tables)), default)
        for name, default in (("time", "1s"), ("memory", "256m"))
    )
    return {"time_s": _seconds(time), "memory_mib": _mib(memory)}


def _seconds(value: Any) -> float:
    """Return the seconds of `2s`, `500ms` or `2`; a number without quotes is nanoseconds, as in their judge."""
    return _quantity("time", value, {"s": 1.0, "ms": 1e-3, "": 1.0, "number": 1e-9}, "a time such as 2s", _MOST_S)


def _mib(value: Any) -> int:
    """Return the MiB of `256m`, `1g` or `65536k`; a number without a unit is bytes, as in their judge."""
    units = {"g": 2.0**10, "m": 1.0, "k": 2.0**-10, "": 2.0**-20, "number": 2.0**-20}
    return max(1, int(_quantity("memory", value, units, "a size such as 256m", _MOST_MIB)))


def _quantity(name: str, value: Any, units: Mapping[str, float], expected: str, most: float) -> float:
    """Return a limit; the unit of one without quotes is `number`."""
    if isinstance(value, int | float):
        number, unit = value, "number"
    else:
        found = re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)", str(value), re.IGNORECASE)
        number, unit = (float(found[1]), found[2].lower()) if found else (0.0, "")
    if unit in units and 0 < number <= most / units[unit]:
        return number * units[unit]
    shown = "a number beyond any machine" if isinstance(value, int | float) else f"{value!r:.80}"
    raise _refusal(f"{name} is {shown}, expected {expected}")


def _testlib(folder: Path) -> list[File]:
    """Return the header that checkers include: the one beside them, else that of the clone around the problem."""
    clone = folder.resolve().parent.parent
    for root, name in ((folder, TESTLIB), (clone, _TESTLIB_IN_CLONE)):
        if problem_folder.locate(root, name) is not None:
            return [File(TESTLIB, problem_folder.read_bytes(root, name))]
    return []


def _statement(folder: Path, kind: str, seconds: float, memory: int) -> str:
    way = "reads standard input and writes standard output"
    if kind == "interactor":
        way = "talks with the judge over standard input and output, and flushes its output after each line"
    rules = f"Write one C++17 program that {way}. Limits on each case: {seconds:g} s of processor time, {memory} MiB."
    return f"{problem_folder.read_text(folder, STATEMENT, errors='replace').strip()}\n\n{rules}"


def _notes(config: Mapping[str, Any], judge: str, *, has_binary: bool) -> list[str]:
    notes = ["a problem of Frontier-CS; new best programs are not confirmed; the image needs g++: --image NAME"]
    if not has_binary:
        notes.append(f"{judge} is compiled for each program; {judge}.bin beside it, compiled once, is used instead")
    if unused := sorted(map(str, set(config) - _USED - _WITHOUT_EFFECT)):
        notes.append(f"{CONFIG}: not used: {', '.join(unused)}")
    return notes


def _refusal(found: str) -> SpecificationError:
    return SpecificationError(f"{CONFIG}: {found}", remedy="Correct it, or take the problem's folder from a clone.")
