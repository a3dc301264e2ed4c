"""Creation of a run: the start program is scored before anything is spent."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from overnight.flows.formatting import round_up
from overnight.flows.start.generated_inputs import settle_inputs
from overnight.flows.start.judging import Asked, judge_of
from overnight.flows.start.origin import origin_of, problem_label
from overnight.flows.start.own_process import settle_process
from overnight.flows.start.sandboxes import image_id, open_confirmations, open_sandboxes, require_ran
from overnight.schemas.algorithm import Join
from overnight.schemas.algorithm_settings import plugin_of
from overnight.schemas.errors import SpecificationError
from overnight.schemas.generation import GenerationRecord, RunRecord
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import new_run_id, program_id
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.plugins import Plugin
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_SCORE, Candidate, Completion, Judged, Program, Prompt
from overnight.schemas.question import Ask
from overnight.schemas.scores import reduced, reduced_metrics
from overnight.schemas.settings import Settings
from overnight.tasks.evaluate.confirmation import disagreement
from overnight.tasks.evaluate.registry import backend_plugin
from overnight.tasks.history import record
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.problems.loading.load import is_of_another_tool
from overnight.tasks.sample.batch_api import require_batches
from overnight.tasks.sample.provider import every_model, provider_plugin, require_keys

RULES, RULES_VERSION = "rules", "13"
"""Number of the rules by which prompts are composed, programs are read from answers and finalists are ranked: higher
where a change makes others. The replay of a run with another number takes prompts and programs from the record, and
ranks by the rules of that number (`Ranking.of`)."""

_LIBRARIES = ("overnight", "prefect", "litellm", "duckdb", "pyarrow", "docker")


def create_run(
    problem: Problem,
    path: Path,
    history: HistoryBackend,
    *,
    seed: int,
    run_id: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> RunFiles:
    """Score the start program and write the run with its generation 0; warn about what is strange.

    Raises:
        UsageError: If batch jobs are asked for and a model's provider has none.
        SpecificationError: If the start program has no score, or another one when isolated; nothing is written then.
        EnvironmentFault: If there is no sandbox, or no key for a model.
    """
    require_batches(problem.settings.sampling)
    with ThreadPoolExecutor(1, "overnight-keys") as thread:  # to load LiteLLM takes longer than to start a container
        checked = thread.submit(require_keys, problem.settings.sampling)
        run, start = prepare_run(problem, path, judge_of(problem), seed=seed, run_id=run_id, tell=tell)
        checked.result()
    if tell and (said := _remark_on_start(start, problem, path)):
        tell(said)
    files = files_of(history, run.run_id)
    record.create(files, run, start)
    return files


def _remark_on_start(start: GenerationRecord, problem: Problem, path: Path) -> str:
    if start.best.is_scored:
        return printed_error(start.judged[0].verdict, problem, path)
    return (
        f"there is no start program: {problem.specification.evolved_parts} is to be written, and the first programs "
        "with a score begin the search"
    )


def prepare_run(
    problem: Problem,
    path: Path,
    asked: Asked,
    *,
    seed: int,
    run_id: str | None = None,
    rescored_from: str = "",
    tell: Callable[[str], None] | None = None,
) -> tuple[RunRecord, GenerationRecord]:
    """Score the start program; return the record of a new run and its generation 0. Nothing is written.

    `asked` answers questions of the scoring, and `tell` takes where programs run, if that is chosen here.

    Raises:
        SpecificationError: If the start program has no score, or another one when it is isolated.
        EnvironmentFault: If there is no sandbox.
    """
    now = datetime.now(UTC)
    run_id = run_id or new_run_id(problem.name, now)
    problem = settle_inputs(problem, run_id=run_id)
    problem, known = settle_process(problem, seed=seed, run_id=run_id, tell=tell)
    verdict = _scored_and_confirmed(problem, path, asked.ask, seed=seed, run_id=run_id, known=known)
    run = RunRecord(
        run_id=run_id,
        problem=problem,
        seed=seed,
        started_at=now,
        specification_path=problem_label(path),
        origin=origin_of(path),
        image_id=image_id(problem.settings.sandbox),
        versions=versions(problem.settings),
        rescored_from=rescored_from,
    )
    return run, asked.put_into(start_generation(run, verdict))


def _scored_and_confirmed(
    problem: Problem, path: Path, ask: Ask | None, *, seed: int, run_id: str, known: Verdict | None
) -> Verdict:
    """Evaluate the specification as it stands, and isolated at the same time, where programs are confirmed.

    The verdict then says how often what evolves was called, which is counted where it has a process of its own.
    `known` is the verdict on it, if there is one.
    """
    if problem.settings.sandbox.confirm == "never":
        return known or score_start(problem, path, seed=seed, run_id=run_id, ask=ask)
    with ThreadPoolExecutor(1, "overnight-confirm") as thread:
        isolated = thread.submit(score_isolated, problem, seed=seed, run_id=run_id, ask=ask)
        verdict = known or score_start(problem, path, seed=seed, run_id=run_id, ask=ask)
        again = isolated.result()
        if verdict.is_scored:
            require_same_isolated_score(problem, verdict, again)
    return replace(verdict, calls=again.calls)


def versions(settings: Settings) -> dict[str, str]:
    """Return the versions of Overnight, Python and the main libraries, and the packages of the plug-ins in use."""
    libraries = {name: version(name) for name in _LIBRARIES}
    of_plugins = {plugin.key: plugin.release for plugin in _plugins_in_use(settings)}
    return {"python": platform.python_version(), RULES: RULES_VERSION, **libraries, **of_plugins}


def _plugins_in_use(settings: Settings) -> list[Plugin]:
    providers = (provider_plugin(model.name) for model in every_model(settings.sampling))
    used = (plugin_of(settings.search.algorithm), backend_plugin(settings.sandbox.backend), *providers)
    return [plugin for plugin in used if plugin]


def score_start(problem: Problem, path: Path, *, seed: int, run_id: str, ask: Ask | None = None) -> Verdict:
    """Evaluate the specification as it stands.

    Raises:
        SpecificationError: If it is not scored, although it is a program.
        EnvironmentFault: If the sandbox failed.
    """
    with open_sandboxes(problem, "train", seed=seed, run_id=run_id, programs=1, ask=ask) as sandbox:
        verdict = require_ran(sandbox.evaluate(problem.specification.start_program))
    if not verdict.is_scored and not problem.specification.is_stub:
        raise SpecificationError(
            f"the start program has no score: {verdict.outcome.value}: {verdict.error}",
            remedy=f"{start_remedy(verdict, problem, path) or 'It must run as it stands'}; look closer with: "
            "overnight check PROBLEM",
        )
    return verdict


_INSIDE = (
    "In the sandbox there is no network, no GPU and no key, and beside Python, numpy and the packages that are asked "
    "for only what the image holds: a compiler, another program or data goes into an image of your own, --image NAME"
)

_MISSING = "not found|no such file|not installed|not available|resolve host|connection|cannot open"
"""Pattern of errors of programs that miss something which the sandbox lacks."""


def start_remedy(verdict: Verdict, problem: Problem, path: Path) -> str:
    """Return a remedy for a start program without a score; empty if none is known."""
    known = _module_remedy(verdict.error, problem, path) or higher_limit(verdict, problem.settings.limits)
    return known or (_INSIDE if problem.settings.command.evaluate else "")


_MORE = 4
"""Advised limit as a multiple of the one that was exceeded."""


def higher_limit(verdict: Verdict, limits: Limits) -> str:
    """Return the flag that raises the limit which a program exceeded; empty if it exceeded none."""
    if verdict.outcome is Outcome.REJECTED and verdict.scores:
        return "Lower that threshold, or do without with --set thresholds=[]"
    facts = verdict.outcome.facts
    if not facts.limits:
        return ""
    is_of_processor = "processor time" in verdict.error and limits.cpu_s is not None
    name = "cpu_s" if is_of_processor else facts.limits[0]
    more = _MORE * getattr(limits, name)
    value = f"{round_up(more):g}" if isinstance(more, float) else str(more)
    return f"{facts.remedy} with --set limits.{name}={value}"


def printed_error(verdict: Verdict, problem: Problem, path: Path) -> str:
    """Return a warning about a scored start program whose evaluator printed an error; empty if it printed none."""
    found = re.findall(r"^(?:[\w.]*(?:Error|Exception)|error): (?!None$)\S.*$", verdict.output, re.MULTILINE)
    if not found:
        return ""
    is_missing = problem.settings.command.evaluate and re.search(_MISSING, found[-1], re.IGNORECASE)
    remedy = _module_remedy(found[-1], problem, path) or (_INSIDE if is_missing else "")
    return f"warning: the start program is scored, and yet it printed: {found[-1]}\n  {remedy}".rstrip()


def _module_remedy(error: str, problem: Problem, path: Path) -> str:
    """Return a remedy for a module that the sandbox lacks; empty if the error is another one."""
    found = re.search(r"No module named '((\w+)[\w.]*)'", error)
    if not found:
        return ""
    folder, module = path if path.is_dir() else path.parent, found[2]
    if module in ("openevolve", "shinka"):
        return (
            f"{found[1]} is of the tool itself, of which the sandbox stands in for what evaluators mostly take only: "
            "it needs an image in which the tool is installed, --image NAME"
        )
    beside = next((name for name in (f"{module}.py", module) if (folder / name).exists()), None)
    if beside:
        return f'It lies beside the problem, and only what is named goes into the sandbox: files = ["{beside}"]'
    if is_of_another_tool(problem):
        return f"If {module} is a package: a line with its name (the package's own) in {folder}/requirements.txt"
    place = "the `# /// script` block"
    if problem.settings.command.evaluate or path.is_dir():
        place = f"{folder}/overnight.toml, above its first table"
    return f'If it is a package: dependencies = ["{module}"] in {place} (the package\'s own name)'


def require_same_isolated_score(problem: Problem, verdict: Verdict, isolated: Verdict) -> None:
    """Raise a SpecificationError if the start program scores otherwise when isolated: no best could be confirmed."""
    if said := disagreement(verdict, isolated, problem.settings.noise):
        raise SpecificationError(
            f"no best could be confirmed: the start program, {said}", remedy=confirmation_remedy(problem)
        )


def score_isolated(problem: Problem, *, seed: int, run_id: str, ask: Ask | None = None) -> Verdict:
    """Evaluate the specification as it stands in the way that a best program is confirmed."""
    with contextlib.closing(open_confirmations(problem, seed=seed, run_id=run_id, ask=ask)) as sandbox:
        return require_ran(sandbox.evaluate(problem.specification.start_program))


def confirmation_remedy(problem: Problem) -> str:
    """Return a remedy for a start program that is not confirmed."""
    return ISOLATION_REMEDY if problem.specification.isolation else CHANCE_REMEDY


CHANCE_REMEDY = (
    "A best is confirmed by another run in a fresh container: seed what is random (OVERNIGHT_SEED is set), read no "
    "clock, allow for chance with --set noise=…, or do without: --confirm never"
)

ISOLATION_REMEDY = (
    "A best is confirmed by another run, with the evolved function in a process of its own: seed what is random, give "
    "the function all it needs as arguments of plain data, and let its value not depend on earlier calls. Or allow for "
    "chance with --set noise=…, for what is kept with --set state=calls, or do without: --confirm never"
)


def unasked_candidate(
    problem: Problem, index: int, body: str, niche: str, now: datetime, *, parents: tuple[str, ...] = (), why: str = ""
) -> Candidate:
    """Return a candidate for which no model was asked, with the finish reason that says so."""
    prompt = Prompt(index, niche, parents, model="", style="", text="", seeds=(0,))
    completion = Completion(index, 0, "", "", "", 0, 0, 0.0, 0.0, finish_reason=why, asked_at=now)
    return Candidate(index, prompt, completion, body, problem.code_hash(body))


def start_generation(run: RunRecord, verdict: Verdict) -> GenerationRecord:
    """Return generation 0: the start program, which founds the niches; where there is none, later programs do."""
    problem, now = run.problem, run.started_at
    body = problem.specification.start_body
    niches = problem.settings.search.algorithm.founded_niches
    candidate = unasked_candidate(problem, 0, body, niches[0], now)
    record = GenerationRecord(
        number=0,
        attempt=1,
        night=0,
        started_at=now,
        ended_at=datetime.now(UTC),
        best=Program(program_id(run.run_id, 0, 0), body, (), NO_SCORE),
        judged=(Judged(program_id(run.run_id, 0, 0), candidate, verdict, None),),
        place=0,
    )
    if not verdict.is_scored:
        return record
    score = reduced(verdict.scores, problem.settings.reducer)
    if score is None:
        raise SpecificationError(
            f"the start program's scores are too large for {problem.settings.reducer}: {verdict.scores}",
            remedy="Scale what the run function returns.",
        )
    metrics = reduced_metrics(verdict.metrics, problem.settings.reducer)
    objectives = problem.settings.objectives
    if said := objectives.missing(metrics) or objectives.broken(score, metrics):
        raise SpecificationError(
            f"the start program has no score: {said}",
            remedy="Correct the scoring or `objectives`; `overnight check` shows the metrics of each input.",
        )
    judged = replace(record.judged[0], score=score, metrics=metrics)
    changes = {0: tuple(Join(niche, judged.id) for niche in niches)}
    return replace(record, best=judged.program(), judged=(judged,), changes=changes)
