"""Artifacts of a night in Prefect: the current state and nothing older; errors of the server are only noted."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from overnight.flows.night.view import NightView
from overnight.schemas.program import Program

pytestmark = pytest.mark.prefect

START = Program("aaaaaaaaaaaa", "return 0", (1.0,), 1.0)
BEST = Program("bbbbbbbbbbbb", "return 5", (5.25,), 5.25)
BETTER = Program("cccccccccccc", "return 7", (7.5,), 7.5)
NIGHT = "toy-run", "toy", 3
VIEW = NightView(
    title="A toy",
    score_name="points",
    share=0.25,
    generation=4,
    phase="sampling",
    candidates=48,
    scored=30,
    cost_usd=1.5,
    message="",
    start=START,
    start_text="def f():\n    return 0",
    best=BEST,
    best_text="def f():\n    return 5",
    best_programs=(BEST, START),
    flag=" --history there",
)
LATER = replace(VIEW, share=0.5, generation=9, phase="evaluating", best=BETTER, best_text="def f():\n    return 7")
LATER = replace(LATER, best_programs=(BETTER, BEST, START))


@dataclass(frozen=True)
class Shown:
    """Artifacts of a flow run.

    Attributes:
        artifacts: The artifacts, as a `PrefectArtifacts`.
        text: Function that returns all that the server has of them, as one text.
        notes: Messages about errors of the server.
    """

    artifacts: Any
    text: Callable[[], str]
    notes: list[str] = field(default_factory=list)

    def show(self, *views: NightView) -> str:
        self.artifacts.begin(*NIGHT)
        for view in views:
            self.artifacts.update(lambda view=view: view, now=True)
        assert self.notes == []
        return self.text()


@pytest.fixture
def shown(prefect: str) -> Iterator[Shown]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    from overnight.flows.night.prefect_artifacts import PrefectArtifacts
    from overnight.flows.night.search import generation

    with get_client(sync_client=True) as client:
        parameters = {"run_id": "toy-run", "number": 1, "history": "there"}
        flow_run = client.create_flow_run(cast("Any", generation), parameters=parameters)
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))

        def text() -> str:
            found = client.read_artifacts(artifact_filter=mine)
            return "\n".join(f"{artifact.key} {artifact.data} {artifact.description}" for artifact in found)

        notes: list[str] = []
        yield Shown(PrefectArtifacts(str(flow_run.id), notes.append), text, notes)


def test_a_later_state_takes_the_place_of_an_earlier_one(shown: Shown):
    text = shown.show(VIEW, LATER, LATER)
    assert BETTER.id in text
    assert "evaluating" in text
    assert "sampling" not in text


def test_control_characters_of_programs_and_messages_are_not_shown_as_such(shown: Shown):
    text = shown.show(replace(VIEW, message="\x1b[31m a wrong key", best_text="def f():\n    return '\x1b\u202e'"))
    assert not {"\x1b", "\u202e"} & set(text)


def test_pictures_are_images_in_the_text_on_the_best_program(shown: Shown):
    assert "data:image" not in shown.show(VIEW)
    text = shown.show(replace(VIEW, pictures={START.id: "<svg/>", BEST.id: f"<svg>{'x' * 400_000}</svg>"}))
    images = re.findall(r"!\[(\w+)\]\(data:image/svg\+xml;base64,\S+\)", text)
    assert images == ["start"], "what is too large is left out"


def test_the_state_is_computed_and_shown_only_when_an_update_is_due(shown: Shown):
    computed = list[NightView]()

    def compute(view: NightView) -> NightView:
        computed.append(view)
        return view

    shown.artifacts.begin(*NIGHT)
    for view in (VIEW, LATER):
        shown.artifacts.update(lambda view=view: compute(view))
    assert computed == [VIEW], "the next one is due in 20 s"
    shown.artifacts.update(lambda: compute(LATER), now=True)
    assert computed == [VIEW, LATER]


def test_a_server_that_cannot_be_reached_is_noted(tmp_path: Path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from overnight.flows.night.prefect_artifacts import PrefectArtifacts

    notes: list[str] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed.getsockname()[1]}/api"}):
            artifacts = PrefectArtifacts("00000000-0000-0000-0000-000000000001", notes.append)
        artifacts.begin(*NIGHT)
        artifacts.update(lambda: VIEW)
        artifacts.link_report(tmp_path / "report.html")
    assert len(notes) == 3
    assert all("Prefect's UI is incomplete" in note for note in notes)
