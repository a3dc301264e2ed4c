"""Where real answers are, and how each source's files are read as rows.

Each reader yields an `Answer` for each file that it understands, and counts the others by kind in `problems`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overnight.tasks.history.archive import unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.sample.codecs.file import has_edits
from tests.bench.real_answers.clones import Clone
from tests.bench.real_answers.store import Answer

Problems = Counter[str]
"""Files that were not understood, by why."""


@dataclass(frozen=True)
class Source:
    """A public repository.

    Attributes:
        repository: Owner and name on GitHub.
        commit: The commit that the published figures are of.
        licence: Its licence.
        read: Yields its answers.
    """

    repository: str
    commit: str
    licence: str
    read: Callable[[Clone, Problems], Iterator[Answer]]


def read_shinka(clone: Clone, problems: Problems) -> Iterator[Answer]:
    """Read ShinkaEvolve's runs: a folder for each child, and summaries that say which children were correct."""
    runs: dict[str, dict[str, dict[str, str]]] = {}
    pattern = (
        r"sresults/[^/]+/[^/]+/(gen_\d+/(main|original)\.py|gen_\d+/(search_replace|rewrite)\.txt|meta_memory\.json)"
    )
    for name, text in _texts(clone, pattern, problems):
        _, run, date, *rest = name.split("/")
        folder, file = (rest[0], rest[1]) if len(rest) > 1 else ("", rest[0])
        runs.setdefault(f"{run}/{date}", {}).setdefault(folder, {})[file] = text
    for run, folders in runs.items():
        memory = _parsed(folders.pop("", {}).get("meta_memory.json", "{}"), run, problems)
        correct = dict(_CORRECT.findall(str(memory.get("meta_summary"))))
        keys = {files["main.py"].strip(): key for key, files in folders.items() if "main.py" in files}
        for key, files in sorted(folders.items(), key=lambda item: int(item[0][4:])):
            if "main.py" in files:
                yield (answer := _of_shinka(run, key, files, keys, correct))
                yield from _without_a_program(answer, files)
            else:
                problems["children without a program"] += 1


_CORRECT = re.compile(r"\*\*Program Identifier:\*\* Generation (\d+)[^\n]*?Correct Program: (\w+)")
_NAMED = re.compile(r"shinka_(\w+?)_(gpt5|gemini3pro)_")
_OUTCOMES = {"True": "scored", "False": "crashed"}


def _of_shinka(run: str, key: str, files: dict[str, str], keys: dict[str, str], correct: dict[str, str]) -> Answer:
    named, number, parent = _NAMED.match(run), int(key[4:]), files.get("original.py", "")
    answer, form = _answer_of_shinka(files)
    return Answer(
        *("shinka", run, number, key, named[1] if named else run),
        model=named[2] if named and number else "",
        form=form,
        completion=answer,
        parent=parent,
        body=files.get("main.py", ""),
        parent_key=keys.get(parent.strip(), ""),
        outcome=_OUTCOMES.get(correct.get(str(number), ""), ""),
        tokens_out=_tokens(answer),
    )


def _answer_of_shinka(files: dict[str, str]) -> tuple[str, str]:
    """Return the answer that became the child, and its form."""
    edits, whole = files.get("search_replace.txt", ""), files.get("rewrite.txt", "")
    middle = whole[len(whole) // 2 :][:200]
    return (whole, "whole") if not edits or (whole and middle in files["main.py"]) else (edits, "edits")


def _without_a_program(answer: Answer, files: dict[str, str]) -> Iterator[Answer]:
    """Yield the earlier answer that a child's folder still has, if edits of it did not apply or were cut off."""
    earlier = files.get("search_replace.txt", "")
    if earlier and earlier != answer.completion:
        yield replace(
            answer,
            key=f"{answer.key}, earlier",
            form="edits",
            completion=earlier,
            body="",
            outcome="unparsable",
            tokens_out=_tokens(earlier),
        )


def read_openevolve(clone: Clone, problems: Problems) -> Iterator[Answer]:
    """Read circle packings that OpenEvolve's checkpoints keep; nested copies of checkpoints are one program."""
    pattern = r"examples/circle_packing/.*/programs/[^/]+\.json"
    for name, text in _texts(clone, pattern, problems):
        program = _parsed(text, name, problems)
        if not program.get("code"):
            continue
        metadata, prompts = program.get("metadata") or {}, program.get("prompts") or {}
        asked = next(iter(prompts.values()), {})
        answers = asked.get("responses") or [""]
        metrics = program.get("metrics") or {}
        score = _score_of_circles(metrics)
        yield Answer(
            *("openevolve", "circle_packing", program.get("iteration_found"), str(program["id"]), "circle_packing"),
            model="gemini-2.0-flash+claude-3.7-sonnet",
            operator=next(iter(prompts), ""),
            form="whole",
            prompt="\n\n".join(filter(None, (asked.get("system"), asked.get("user")))),
            completion=str(answers[0]),
            body=program["code"],
            parent_key=str(program.get("parent_id") or ""),
            outcome="scored" if score else _failure_of_circles(metrics),
            error=str(metrics.get("error") or ""),
            score=score or None,
            parent_score=_score_of_circles(metadata.get("parent_metrics") or {}) or None,
            tokens_in=_tokens((asked.get("system") or "") + (asked.get("user") or "")),
            tokens_out=_tokens(str(answers[0])),
        )


def _score_of_circles(metrics: dict[str, Any]) -> float:
    """Return the sum of the radii of a valid packing; 0 for an invalid one."""
    return float(metrics.get("sum_radii") or 0.0) if metrics.get("validity") else 0.0


def _failure_of_circles(metrics: dict[str, Any]) -> str:
    error = metrics.get("error")
    return "timed_out" if metrics.get("timeout") else "crashed" if "execution" in str(error) else "bad_score"


def read_eoh(clone: Clone, problems: Problems) -> Iterator[Answer]:
    """Read EoH's samples, which have the failed ones, too, and its populations, which have survivors only.

    Objectives are minimised. A population's program counts for its first generation; samples have no parents.
    """
    for name, text in _texts(clone, r"examples/[^/]+/results/samples/samples_\d+~\d+\.json", problems):
        folder = name.split("/")[1]
        # Two runs of different length were written into one folder; the file's name tells them apart.
        for sample in _listed(text, name, problems):
            run = f"samples/{folder}/{name.rsplit('~', 1)[0].rsplit('_', 1)[1]}/{name.rsplit('~', 1)[1]}"
            yield _of_eoh(sample, run, int(sample["sample_order"]), folder, "deepseek-chat")
    pattern = r"(docs/Results/.*|examples/[^/]+/results/pops)/population_generation_\d+\.json"
    names = sorted(clone.names(pattern), key=lambda name: int(re.findall(r"\d+", name)[-1]))
    for name, text in _present(clone.read(names), problems):
        run = name.rpartition("/")[0]
        for member in _listed(text, name, problems):
            yield _of_eoh(member, run, None, _problem_of_eoh(run), _model_of_eoh(run))


def _of_eoh(member: dict[str, Any], run: str, sample: int | None, problem: str, model: str) -> Answer:
    objective, code = member.get("objective"), member.get("code") or ""
    return Answer(
        *("eoh", run, sample, str(sample or ""), problem),
        model=model,
        operator=str(member.get("operator") or ""),
        form="function" if code else "",
        body=code,
        outcome="scored" if objective is not None else "crashed" if code else "unparsable",
        score=None if objective is None else -float(objective),
        accepted=None if sample else True,
        tokens_out=_tokens(code + str(member.get("algorithm") or "")) if code else None,
    )


def _problem_of_eoh(run: str) -> str:
    if run.startswith("examples/"):
        return run.split("/")[1]
    return {"Prob2": "tsp_gls", "Prob3": "fssp_gls"}.get(run.split("/")[2][:5], "bin_packing_weibull")


def _model_of_eoh(run: str) -> str:
    """Return the model of a population: as a folder or the example's script names it, else that of the paper."""
    if run.startswith("examples/"):
        return "deepseek-chat"
    named = run.split("/")[3].lower() if "EoH_LLMs" in run else ""
    models = [name for name in ("gemini", "codellama34b", "codellama7b") if name in named]
    return "+".join(models) or "gpt-3.5-turbo"


def read_levi(clone: Clone, problems: Problems) -> Iterator[Answer]:
    """Read LEVI's score histories, whose missing numbers are the failures that it counts, and its elites."""
    for name, text in _texts(clone, r"examples/.*/result_snapshot\.json", problems):
        snapshot, problem = _parsed(text, name, problems), name.split("/")[-2]
        models = "mimo-v2-flash+qwen3-30b-a3b+gemini-3-flash"
        samples = {int(row["eval_number"]): row for row in snapshot.get("score_history") or ()}
        last = int((snapshot.get("run_state") or {}).get("eval_count") or max(samples, default=0))
        for number in range(1, last + 1):
            row = samples.get(number)
            yield Answer(
                *("levi", problem, number, str(number), problem, models, str((row or {}).get("sampler") or "")),
                outcome="scored" if row else "crashed",
                score=float(row["score"]) if row else None,
                accepted=bool(row["accepted"]) if row else None,
            )
        for elite in snapshot.get("elites") or ():
            yield Answer(
                *("levi", f"{problem}/elites", None, str(elite["program_id"]), problem, models),
                form="function",
                body=elite["code"],
                outcome="scored",
                score=float(elite["primary_score"]),
                accepted=True,
                tokens_out=_tokens(elite["code"]),
            )


OWN_ANSWERS = Path(__file__).with_name("own_answers.parquet")
"""Rows of six runs of ours, 48 answers each of a frontier model, whose histories no version reads any more."""


def read_own(archive: Path) -> Iterator[Answer]:
    """Read a run that Overnight exported."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, LocalBackend(Path(folder)))
        database = Database(Path(folder))
        (about,) = database.rows("SELECT problem, specification FROM runs")
        name, problem = archive.name.removesuffix(".tar.zst"), str(about["problem"])
        yield Answer(*("overnight", name, 0, SPECIFICATION, problem), form=SPECIFICATION, body=about["specification"])
        columns = "program_id, parent_ids, model, operator, prompt, completion, body, outcome, error, score, sample"
        rows = database.rows(f"SELECT {columns}, tokens_in, tokens_out, generation FROM programs ORDER BY sample")
        programs = {row["program_id"]: row for row in rows}
        for row in rows:
            if row["generation"] and row["operator"] != "tune":
                parent = programs.get((row["parent_ids"] or [""])[-1], {})
                yield _of_own(row, parent, name, problem)


SPECIFICATION = "specification"
"""Name and form of the row of our own runs that has the specification, as sample 0."""


def _of_own(row: dict[str, Any], parent: dict[str, Any], run: str, problem: str) -> Answer:
    return Answer(
        *("overnight", run, row["sample"], row["program_id"], problem),
        model="frontier, one conversation",
        operator=row["operator"] or "",
        form="edits" if has_edits(row["completion"]) else "function",
        prompt=row["prompt"],
        completion=row["completion"],
        parent=parent.get("body") or "",
        body=row["body"] or "",
        parent_key=parent.get("program_id") or "",
        outcome=row["outcome"],
        error=row["error"] or "",
        score=row["score"],
        parent_score=parent.get("score"),
        tokens_in=_tokens(row["prompt"]),
        tokens_out=_tokens(row["completion"]),
    )


SOURCES = {
    "shinka": Source(
        "audreyccheng/ShinkaEvolve", "2176746e00a292e86becdf5941657df81cef8961", "Apache-2.0", read_shinka
    ),
    "openevolve": Source(
        "ypwang61/MyOpenEvolve", "c4a83739900dd5676e343619f48b21436b1d0794", "Apache-2.0", read_openevolve
    ),
    "eoh": Source("FeiLiu36/EoH", "64b1a49948622767e37e7026918636d9ee7e96dc", "MIT", read_eoh),
    "levi": Source("ttanv/levi", "1283dcaf474e2f8b24a2387d655cb0b89c3a4c54", "MIT", read_levi),
}
"""The public sources by name."""


def _texts(clone: Clone, pattern: str, problems: Problems) -> Iterator[tuple[str, str]]:
    yield from _present(clone.read(clone.names(pattern)), problems)


def _present(files: Iterator[tuple[str, str | None]], problems: Problems) -> Iterator[tuple[str, str]]:
    for name, text in files:
        if text is None:
            problems["not in the clone"] += 1
        else:
            yield name, text


def _parsed(text: str, name: str, problems: Problems) -> dict[str, Any]:
    """Return a JSON object; an empty one, which is counted, if it is something else."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    problems[f"not a JSON object: {Path(name).name}"] += 1
    return {}


def _listed(text: str, name: str, problems: Problems) -> list[dict[str, Any]]:
    """Return a list of JSON objects; an object alone is a list of one."""
    try:
        value = json.loads(text)
    except ValueError:
        problems[f"not JSON: {Path(name).name}"] += 1
        return []
    return [member for member in (value if isinstance(value, list) else [value]) if isinstance(member, dict)]


def _tokens(text: str) -> int | None:
    """Return about how many tokens a text has; `None` for none."""
    return len(text) // 4 or None
