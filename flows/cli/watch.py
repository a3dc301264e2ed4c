"""`overnight watch`: a run while it goes on, as a page or on the terminal."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.printing import DEFAULT_HISTORY, History, duration, out, say, score, table, usd
from schemas.errors import EnvironmentFault

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from rich.console import Group

    from flows.live_report import LiveReport
    from schemas.report_data import ReportData

_EVERY_S = 2.0
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def watch(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")] = "last",
    /,
    *,
    terminal: Annotated[bool, Parameter(help="show it here, in place of a page")] = False,
    port: Annotated[int, Parameter(help="port of the page on 127.0.0.1; by default a free one")] = 0,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Watch a run: the report as a page that follows the night, or a view for the terminal. Ctrl-C ends it."""
    from flows.live_report import LiveReport
    from tasks.history.files import find_run

    watched = LiveReport(history, find_run(history, run))
    watched.data()
    with contextlib.suppress(KeyboardInterrupt):
        (_show if terminal else _serve)(watched, port)


def _serve(watched: LiveReport, port: int) -> None:
    import uvicorn

    from flows.live_report import application

    with _listening(port) as listener:
        say(f"http://127.0.0.1:{listener.getsockname()[1]}/ follows the run; Ctrl-C ends this, not the run")
        config = uvicorn.Config(application(watched), log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    import socket

    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise EnvironmentFault(
            f"cannot listen on port {port}: {error.strerror}", remedy="Leave --port out to take a free one."
        ) from error


def _show(watched: LiveReport, _port: int) -> None:
    from rich.live import Live

    if not out().is_terminal:
        out().print(view(watched.data()))
        return
    with Live(view(watched.data()), console=out(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(_EVERY_S)
            live.update(view(watched.data()), refresh=True)


def view(story: ReportData) -> Group:
    """The run as it is now: its nights, its best score over samples, its islands and its models."""
    from rich.console import Group
    from rich.text import Text

    settings = story.run.problem.settings
    last, known = story.generations[-1], settings.known.best
    head = f"{settings.title or story.run.problem.name} · {story.run.run_id} · {_state(story)}"
    beside = "" if known is None else f", best known {score(known)}"
    best = f"best {score(last.best)} (started with {score(story.generations[0].best)}{beside}): {settings.score_name}"
    spent = f"generation {last.generation}, {last.samples:,} samples, {duration(last.seconds)}, {usd(last.cost_usd)}"
    return Group(
        Text(head, style="bold"),
        Text(best),
        Text(spent),
        Text(spark([moment.best for moment in story.generations])),
        _islands(story),
        _models(story),
    )


def _state(story: ReportData) -> str:
    night = story.nights[-1] if story.nights else None
    if night is None or night.ended_at is None:
        return f"night {night.night if night else 1}, no end on record"
    return f"night {night.night} ended: {night.stop_reason}"


def spark(values: Sequence[float]) -> str:
    """A line of bars, the last of each stretch of values."""
    count = min(_WIDTH, len(values))
    shown = [values[(place + 1) * len(values) // count - 1] for place in range(count)]
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


def _islands(story: ReportData):  # noqa: ANN202  (rich is imported late)
    rows = [
        (str(one.island), score(one.steps[-1][1] if one.steps else None), str(one.programs), str(one.clusters),
         str(len(one.resets)))
        for one in story.islands
    ]  # fmt: skip
    columns = ("island", "best", "programs", "clusters", "resets")
    return table(columns, rows, right=columns)


def _models(story: ReportData):  # noqa: ANN202  (rich is imported late)
    rows = [
        (
            one.model,
            f"{one.samples:,}",
            score(one.best),
            ", ".join(f"{kind} {count}" for kind, count in one.outcomes.items()),
            "unknown" if one.cost_usd is None else usd(one.cost_usd),
        )
        for one in story.models
    ]
    return table(("model", "samples", "best", "outcomes", "cost"), rows, right=("samples", "best", "cost"))
