"""A problem as plain data; `tasks/problems/loading/` loads it, `tasks/program/make_problem.py` restores it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.files import File
from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.settings import Settings
from overnight.schemas.skeleton import Skeleton

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)

INPUT_FUNCTION = "__overnight_input__"
"""Name of the function in `Specification.input_program` that returns an input as JSON."""

_PRUNING_EVALUATIONS = 300
"""Evaluations by which a night's best program is pruned, unless the settings say otherwise."""


@dataclass(frozen=True)
class Problem:
    """A valid problem.

    Attributes:
        name: Stem of the file, or name of the directory, with dashes; a directory whose name is a number is prefixed
            with the name of its parent.
        specification: Fixed part of all programs: a specification, or the evolving files of a directory.
        settings: Merged settings of the specification, of `overnight.toml`, of the user and of the flags.
        inputs: For each split, one call for each input.
        dependencies: Dependencies in the settings and the PEP 723 block; in a directory, also those of the files that
            its command names.
        files: Files in the working directory of programs.
        asks: Whether its scoring may ask a model: whether one of its Python files uses `funsearch.ask`.
    """

    name: str
    specification: Skeleton
    settings: Settings
    inputs: Mapping[Split, tuple[Call, ...]]
    dependencies: Dependencies = field(default_factory=Dependencies)
    files: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()
    asks: bool = False

    @property
    def hash(self) -> str:
        """SHA-256 of the specification and the files, hexadecimal."""
        digest = hashlib.sha256(self.specification.text.encode()).hexdigest()
        if not self.files:
            return digest
        parts = [digest, *(f"{file.hash} {file.path}" for file in self.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def score_warning(self) -> str:
        """Warning that scores can be forged; empty where confirmations, or all evaluations, are in two processes."""
        if self.specification.run or self.settings.command.process == "own":
            return ""
        return (
            "scores can be forged: the evaluator shares a container with the program, and often its interpreter, in "
            "confirmations, too; read the best program before you trust its score"
        )

    @property
    def tunes(self) -> bool:
        """Whether numbers of its programs are tuned: not where each evaluation may buy answers of a model."""
        settings = self.settings
        is_wanted = settings.tuner.enabled and settings.search.algorithm.shows_feedback and not self.asks
        return is_wanted and self.specification.language == "python"

    @property
    def has_other_inputs(self) -> bool:
        """Whether it has inputs beside those of the search, on which alone a score may be luck."""
        return any(self.inputs[split] for split in ("validation", "held_out"))

    @property
    def choice(self) -> str:
        """How the best program is chosen where another one has a higher score on the training inputs, in words."""
        reasons = ["by its score on the validation inputs"] if self.inputs["validation"] else []
        reasons += ["as the simplest of those within the noise"] if self.settings.noise > 0 else []
        return " and ".join(reasons) or "at the end of the last night"

    @property
    def pruning_evaluations(self) -> int:
        """Limit on the evaluations by which a night's best program is pruned; 0 where it is not."""
        wanted = self.settings.search.prune
        if wanted is None:
            return 0 if self.asks or self.settings.noise > 0 else _PRUNING_EVALUATIONS
        return wanted

    def passed_known(self, score: float) -> str:
        """Return in words that a score passes the best known one; empty if it does not, or may be of other inputs."""
        known = self.settings.known
        if known.split != "train" or self.has_other_inputs or known.proven or not known.is_passed_by(score):
            return ""
        holder = f", {known.label}" if known.label else ""
        return (
            f"better than the best known score that this problem names ({known.best:.6g}{holder}): check it before you "
            "tell others"
        )

    def job(self, split: Split = "train", seed: int = 0, *, isolation: bool | None = None) -> Job:
        """Return the data a sandbox needs to evaluate programs on one split.

        Evaluations are isolated, with the evolved function in its own process, as in the settings by default. Where a
        command scores programs, `isolation` is ignored.
        """
        if isolation is None:
            isolation = self.settings.sandbox.split
        skeleton = self.specification
        return Job(
            run_function=skeleton.run,
            inputs=self.inputs[split],
            limits=self.settings.limits,
            thresholds=self.settings.thresholds if split == "train" else (),
            seed=seed,
            isolation=self._isolation if isolation else None,
            command=self._command(),
            asks=self.asks,
            honest=skeleton.start_program,
        )

    @property
    def draws(self) -> bool:
        """Whether a function or a command of the problem draws what a program does."""
        return bool(self.settings.command.draw if not self.specification.run else self._draw_function)

    def drawing_job(self, seed: int = 0) -> Job:
        """Return the data a sandbox needs to draw what programs do with the last of its `inputs`, if it `draws`.

        Where programs are confirmed, they are drawn in isolation, too: the evolved function in a process of its own
        cannot draw what it does not do.
        """
        sandbox = self.settings.sandbox
        command = self._command()
        return Job(
            run_function=self._draw_function,
            inputs=self.inputs["train"][-1:],
            limits=self.settings.limits,
            seed=seed,
            isolation=self._isolation if sandbox.split or sandbox.confirm != "never" else None,
            command=command and replace(command, arguments=self.settings.command.draw, metrics_file="", apart=False),
            draws=True,
        )

    def input_job(self, limit_s: float) -> Job:
        """Return the data a sandbox needs to run `Specification.input_program`, with a time limit, seconds."""
        limits = self.settings.limits
        fewer = {"wall_s": min(limit_s, limits.wall_s), "cpu_s": None}
        return Job(INPUT_FUNCTION, (Call(),), limits.model_copy(update=fewer), draws=True)

    @property
    def _isolation(self) -> Isolation | None:
        found = self.specification.isolation
        settings = self.settings
        return found and replace(found, checks_calls=settings.state == "none", may_vary=settings.noise > 0)

    @property
    def _draw_function(self) -> str:
        return (self.settings.draw or self.specification.draw) if self.specification.run else ""

    def code_hash(self, body: str) -> str:
        """Return the hash by which programs count as the same, as `search.novelty` says."""
        if self.settings.search.compares_meaning:
            return self.specification.meaning_hash(body)
        return self.specification.code_hash(body)

    def _command(self) -> Command | None:
        command = self.settings.command
        if self.specification.run:
            return None
        names = command.evolving_paths
        files = () if isinstance(command.program, str) else names
        apart = command.process == "own"
        return Command(names[0], command.evaluate, command.metric, command.metrics_file, files, apart=apart)
