"""Verdicts on candidates of generations under way, which are stored so that a killed night repeats no evaluation."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from overnight.flows.night.completions import CompletionStores
from overnight.flows.start.sandboxes import image_id
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import StoredVerdict, Verdict
from overnight.schemas.program import Candidate
from overnight.tasks.history.atomic_files import disk_errors
from overnight.tasks.history.private_files import create_once

_EVERY_S = 1.0
"""Seconds between two writes: where programs take milliseconds, many verdicts share one."""


class VerdictStore:
    """The verdicts of a run's open generations, beside their answers. Thread-safe.

    They are written in a thread of its own, so that no slot waits for a disk or a store. What cannot be written is left
    out, since it can be had again.
    """

    def __init__(self, run: RunRecord, stores: CompletionStores, key_file: Path) -> None:
        self._run = run
        self._stores = stores
        self._key_file = key_file
        self._thread = ThreadPoolExecutor(1, "overnight-verdicts")
        self._waiting: defaultdict[int, list[StoredVerdict]] = defaultdict(list)
        self._is_writing = False
        self._is_closing = threading.Event()
        self._lock = threading.Lock()

    @cached_property
    def _under(self) -> str:
        """Hash of what verdicts depend on now, beside the program: those made under anything else do not count.

        A key of this machine is a part of it, since a journal may come from elsewhere, with verdicts that are made up.
        """
        run, problem = self._run, self._run.problem
        sandbox = problem.settings.sandbox
        jobs = [problem.job("train", run.seed, isolation=isolation) for isolation in (None, True)]
        files = [(file.path, file.hash) for file in problem.files]
        settings = sandbox.model_dump(exclude={"slots"}), problem.settings.noise, problem.dependencies
        made_by = image_id(sandbox), version("overnight")
        return hashlib.sha256(
            repr((self._key(), jobs, files, settings, made_by)).encode("utf-8", "surrogatepass")
        ).hexdigest()[:16]

    def _key(self) -> str:
        if not self._key_file.exists():
            with disk_errors(self._key_file):
                create_once(self._key_file, secrets.token_hex(16).encode())
        return self._key_file.read_text()

    def known(self, generation: int, *, confirms: bool = False) -> dict[tuple[int, str], Verdict]:
        """Return the verdicts of evaluations, or confirmations, that still count, by index and code hash.

        Raises:
            SandboxUnavailable: If there are any, and it cannot be told what they would depend on now.
            EnvironmentFault: If the disk takes no key.
        """
        stored = self._stores.of(generation).journal.verdicts()
        found = [one for one in stored if one.confirms == confirms and one.under == self._under]
        return {(one.candidate, one.code_hash): one.verdict for one in reversed(found)}

    def keep(self, generation: int, candidate: Candidate, verdict: Verdict, *, confirms: bool = False) -> None:
        """Write a verdict soon."""
        one = StoredVerdict(candidate.index, candidate.code_hash, confirms, "", verdict)
        with self._lock:
            if self._is_closing.is_set():
                return  # a confirmation that nobody waits for
            self._waiting[generation].append(one)
            if not self._is_writing:
                self._is_writing = True
                self._thread.submit(self._write)

    def _write(self) -> None:
        while waiting := self._take():
            for generation, verdicts in waiting.items():
                with suppress(EnvironmentFault):
                    made = [replace(one, under=self._under) for one in verdicts]
                    self._stores.keep_verdicts(generation, made)
            self._is_closing.wait(_EVERY_S)

    def _take(self) -> dict[int, list[StoredVerdict]]:
        with self._lock:
            waiting, self._waiting = self._waiting, defaultdict(list)
            self._is_writing = bool(waiting)
            return waiting

    def close(self) -> None:
        """Write what waits."""
        with self._lock:
            self._is_closing.set()
        self._thread.shutdown()
