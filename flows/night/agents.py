"""The agents of an open run: their images, their containers, and the history that they may query."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from overnight.flows.night.drawn_trials import DrawnTrials
from overnight.flows.night.progress import Progress
from overnight.flows.start.sandboxes import agent_image, require_agents
from overnight.schemas.completion_source import CompletionSource
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import Verdict
from overnight.schemas.program import NO_GAIN
from overnight.tasks.agent.desk import Bench
from overnight.tasks.agent.source import AgentSource, Sessions, Workplace
from overnight.tasks.agent.workspace import FILES_MIB, MOST_LEFT, files_left
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import RunnerConfig
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.night_log import log_line
from overnight.tasks.history.query_guard import Limits
from overnight.tasks.history.query_process import QueryProcess
from overnight.tasks.program.user_config import user_agent
from overnight.tasks.sample.completion_sources import CompletionStore
from overnight.tasks.sample.gateway import Gateway

_TABLES = ("programs", "population", "generations", "scores", "program_metrics")
"""Views that an agent may query of its run: nothing in them is of validation or held-out inputs, or of the scoring."""

_QUERIES = Limits(_TABLES, chars=20_000, rows=201, answer_mib=16, memory_mib=512)
"""Limits on these queries; an agent is shown 200 rows at most, and told if there are more."""


_MOST_SESSIONS = 3
"""Most earlier sessions whose files an agent gets."""

_SESSIONS = f"""
WITH RECURSIVE line(program_id, distance) AS (
    SELECT unnest($3::VARCHAR[]), 0
    UNION
    SELECT unnest(one.parent_ids), line.distance + 1
    FROM line JOIN programs AS one ON one.program_id = line.program_id
    WHERE one.run_id = $1 AND line.distance < 20
), found AS (
    FROM line
    UNION ALL
    SELECT one.program_id, line.distance
    FROM line JOIN programs AS one ON one.parent_ids[-1] = line.program_id
    WHERE one.run_id = $1 AND one.finish_reason = '{NO_GAIN}'
)
SELECT session.program_id, any_value(session.transcript) AS transcript
FROM found JOIN programs AS one USING (program_id) JOIN programs AS session
ON session.run_id = one.run_id AND session.generation = one.generation
    AND session.index // $2 = one.index // $2 AND session.transcript IS NOT NULL
WHERE one.run_id = $1
GROUP BY session.program_id ORDER BY min(found.distance), max(one.score) DESC, max(session.generation) DESC LIMIT $4
"""
"""Query for the work of agents on these programs or their ancestors: handed back, scored, or without a better one;
the nearest first."""


class Agents:
    """The agents of an open run; without any, nothing is opened."""

    def __init__(
        self, run: RunRecord, files: RunFiles, gateway: Gateway, evaluator: Evaluator, progress: Progress
    ) -> None:
        self._run, self._files, self._progress = run, files, progress
        self._gateway, self._evaluator = gateway, evaluator
        self._workplaces: dict[str, Workplace] = {}
        self._sessions = Sessions(self._tell, lambda: not progress.interrupted)
        progress.sessions = self._sessions.states
        self._bench: Bench | None = None
        self._opened = contextlib.ExitStack()

    def open(self) -> None:
        """Make ready what the agents of the run need, if they are defined and can be confined; build missing images."""
        problem = self._run.problem
        require_agents(problem.settings)
        backend = create_backend(problem.settings.sandbox.backend)
        self._opened.callback(backend.close)
        for name in dict.fromkeys(model.agent for model in problem.settings.sampling.models if model.agent):
            agent = user_agent(name)
            config = RunnerConfig(
                image=agent_image(name, problem, backend, self._progress.note),
                memory_mib=agent.memory_mib,
                labels={"overnight.run": self._run.run_id},
                runtime=problem.settings.sandbox.runtime,
                scratch_mib=FILES_MIB,
                may_execute=True,
            )
            self._workplaces[name] = Workplace(
                name, agent, partial(backend.start, config), threading.Semaphore(agent.at_once)
            )
        open_history = partial(QueryProcess, self._files.backend.root, self._run.run_id, _QUERIES)
        self._bench = Bench(
            problem, self._gateway, self._evaluator, open_history, self._earlier_files, self._drawn_trials()
        )

    def _drawn_trials(self) -> Callable[[str], Future[Verdict]] | None:
        """Return what scores programs on inputs drawn for agents; `None` where there are none."""
        if not self._run.problem.specification.generator or self._run.problem.asks:
            return None
        trials = DrawnTrials(self._run, self._evaluator)
        self._opened.callback(trials.close)
        return trials.submit

    def _tell(self, line: str) -> None:
        """Show a line to people, and write it to the night's log."""
        self._progress.news.append(line)
        log_line(self._files, self._progress.night, line)

    def _earlier_files(self, program_ids: Sequence[str]) -> dict[str, str]:
        """Return what the sessions left from which programs came, by program and path."""
        per_prompt = self._run.problem.settings.candidates_per_prompt
        database = Database(self._files.backend.root, self._files.run_id)
        rows = database.rows(_SESSIONS, [self._run.run_id, per_prompt, list(program_ids), _MOST_SESSIONS])
        files, chars = dict[str, str](), 0
        for row in rows:
            for path, text in files_left(row["transcript"]).items():
                chars += len(text)
                if chars <= MOST_LEFT:
                    files[f"{row['program_id']}/{path}"] = text
        return files

    def sources(self, generation: int, store_of: Callable[[int], CompletionStore]) -> dict[str, CompletionSource]:
        """Return the source of each model that agents work with, by the model's name."""
        if self._bench is None:
            return {}
        source = AgentSource(self._workplaces, self._bench, generation, store_of(generation), self._sessions)
        return {model.name: source for model in self._run.problem.settings.sampling.models if model.agent}

    def stop(self) -> None:
        """End all sessions; what was paid for is kept, and they begin again when the run goes on."""
        self._sessions.stop()

    def close(self) -> None:
        """End all sessions and what they need; calling it again does nothing."""
        self.stop()
        self._opened.close()
