"""Answers to an agent's queries of its run's history."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from overnight.schemas.errors import OvernightError, QueryError
from overnight.tasks.agent.door import RequestRefused
from overnight.tasks.history.query_process import QueryProcess

MOST_CHARS = 20_000
"""Most of an answer to a query, or of a program's output, that an agent is shown."""

_MOST_QUERIES = 500
"""Most queries of a session."""

_MOST_ROWS = 200
_QUERY_S = 20.0


@dataclass
class HistoryQueries:
    """Queries of one session, answered by a process that starts with the first one.

    Attributes:
        open_history: Starts that process.
    """

    open_history: Callable[[], QueryProcess]
    _asked: int = 0
    _process: QueryProcess | None = None

    def answer(self, sql: str, recorded: int) -> str:
        """Return rows as lines of JSON.

        Args:
            sql: The query.
            recorded: Number of queries that the session's record has.

        Raises:
            RequestRefused: If it is no query that can be answered, or one too many.
        """
        self._asked += 1
        if max(self._asked, recorded + 1) > _MOST_QUERIES:
            raise RequestRefused(f"all {_MOST_QUERIES} queries of this sample are used", 403)
        try:
            self._process = self._process or self.open_history()
            table = self._process.query(sql, timeout_s=_QUERY_S)
        except QueryError as error:
            raise RequestRefused(error.message) from error
        except OvernightError as error:  # which may name files of this machine
            raise RequestRefused("the history does not answer; ask again later") from error
        rows = table.slice(0, _MOST_ROWS).to_pylist()
        text = "\n".join(json.dumps(row, default=str) for row in rows)
        more = table.num_rows > _MOST_ROWS or len(text) > MOST_CHARS
        return text[:MOST_CHARS] + ("\n… (cut: ask for fewer rows or columns)" if more else "") or "no rows"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None
