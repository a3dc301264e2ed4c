"""`overnight.evolve`, which runs a night, and `overnight.evaluate`, which tries a problem out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from overnight.flows.api.functions import Function, as_json, specification
from overnight.flows.api.run import NightOptions, Place, Run, open_history, run_night
from overnight.schemas.errors import UsageError

if TYPE_CHECKING:
    from overnight.schemas.outcome import Verdict


class SearchOptions(NightOptions, total=False):
    """Options that are fixed when a run is created: flags of `overnight run` by their names, beside a night's.

    Attributes:
        model: Models, or one; a mapping gives each its share of the prompts.
        settings: Any other settings by their dotted names, such as `{"search.algorithm": "tree"}`: `--set`.
        history: Where the run is stored; by default OVERNIGHT_HISTORY, or the folder `history`.
    """

    model: str | Sequence[str] | Mapping[str, float] | None
    agent: str | Sequence[str] | None
    api_base: str | None
    style: str | None
    judge: str | None
    batch: bool
    seed: int | None
    confirm: str | None
    image: str | None
    runtime: str | None
    sandbox: str | None
    settings: Mapping[str, Any] | None
    history: Place | None


def evolve(
    problem: Place | None = None,
    /,
    *,
    start: Function | str | Sequence[str] | None = None,
    score: Function | None = None,
    inputs: Sequence[Any] | None = None,
    validation: Sequence[Any] = (),
    held_out: Sequence[Any] = (),
    **options: Unpack[SearchOptions],
) -> Run:
    """Search for a better program until a stop condition is met; return the run as it is then.

    Ctrl-C once ends the night after the generation under way, and the run is returned; Ctrl-C again stops at once.

    Args:
        problem: A specification file, a directory, or the name of a built-in problem; in place of it, functions:
        start: Function to improve. Of a problem, further programs to begin with, as for `overnight run --start`.
        score: Function that scores it on one input: it calls it by its name, and returns a number; higher is better.
        inputs: Training inputs. Of a problem that is a file, they replace its own.
        validation: Inputs that choose the best program; with functions only.
        held_out: Inputs that only the best program is scored on; with functions only.
        **options: `SearchOptions` and `NightOptions`: models, stop conditions, settings, what is told.

    Raises:
        OvernightError: As the command `overnight run` fails; its classes are in `overnight.errors`.
        KeyboardInterrupt: If the night was stopped at once.
    """
    flags: dict[str, Any] = dict(options)
    history = open_history(flags.pop("history", None))
    flags["set"] = flags.pop("settings", None)
    if score is None and not callable(start):
        if problem is None or validation or held_out:
            raise UsageError(
                "evolve takes a problem, or the functions `start` and `score` with `inputs`",
                remedy='For example: overnight.evolve("bin-packing-or", model="builtin/mutate", until="2m")',
            )
        flags["inputs"] = None if inputs is None else as_json(list(inputs), "inputs")
        flags["start"] = start
        return run_night("run", str(problem), history, flags)
    if problem is not None or not callable(start) or score is None:
        raise UsageError(
            "evolve takes a problem or functions, and of functions both `start` and `score`",
            remedy="For example: overnight.evolve(start=guess, score=score, inputs=[7, 10])",
        )
    text = specification(start=start, score=score, inputs=inputs or (), validation=validation, held_out=held_out)
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        path = Path(folder, f"{start.__name__}.py")
        path.write_text(text, encoding="utf-8")
        return run_night("run", str(path), history, flags)


def evaluate(
    problem: Place,
    *,
    sandbox: str | None = None,
    judge: str | None = None,
    trust_settings: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Verdict]:
    """Score the start program of a problem in the sandbox, on each split that has inputs.

    Args:
        problem: A specification file, a directory, or the name of a built-in problem.
        sandbox: Where programs run: `docker`, or `process` for a try without an engine, hardly confined.
        judge: Model that the scoring asks, where it asks one.
        trust_settings: Whether to accept what the problem's files propose that reaches outside of the sandbox.
        settings: Settings by their dotted names, such as `{"limits.wall_s": 10}`.

    Returns:
        The verdict by the name of the split: `train`, `validation`, `held_out`. A program that fails has one, too: its
        outcome and error say why.

    Raises:
        OvernightError: If the problem cannot be loaded, or there is no sandbox.
    """
    from overnight.flows.cli.options import RunOptions
    from overnight.flows.start.judging import judge_of
    from overnight.flows.start.own_process import settle_process
    from overnight.flows.start.sandboxes import open_sandboxes
    from overnight.flows.start.trust import accept
    from overnight.schemas.problem import SPLITS
    from overnight.tasks.problems import find
    from overnight.tasks.problems.loading.load import load_problem

    sets = [f"{name}={as_json(value, name)}" for name, value in (settings or {}).items()]
    given = RunOptions(set=sets, sandbox=sandbox, judge=judge).settings()
    loaded = accept(load_problem(find(str(problem)), given), given, trust=trust_settings)
    loaded, _ = settle_process(loaded, seed=0, run_id="evaluate")
    ask = judge_of(loaded).ask
    verdicts: dict[str, Verdict] = {}
    for split in SPLITS:
        if loaded.inputs[split]:
            with open_sandboxes(loaded, split, seed=0, run_id="evaluate", programs=1, ask=ask) as slots:
                verdicts[split] = slots.evaluate(loaded.specification.start_program)
    return verdicts
