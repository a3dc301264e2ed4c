"""Artifacts of a night in Prefect: the current state and nothing older; errors of the server are only noted."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from overnight.flows.night.facts import ShownNight
from tests.flows.night.shown import a_night, program

pytestmark = pytest.mark.prefect

NIGHT = "toy-run", "toy", 3


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

    def show(self, *nights: ShownNight) -> str:
        self.artifacts.begin(*NIGHT)
        for night in nights:
            self.artifacts.update(night, now=True)
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
    text = shown.show(a_night(5.25), a_night(7.5, "evaluating"))
    assert program(7.5).id in text
    assert "```diff\n--- start\n" in text
    assert "evaluating" in text
    assert "sampling" not in text


def test_control_characters_of_programs_and_messages_are_not_shown_as_such(shown: Shown):
    night = a_night(5.25, message="\x1b[31m a wrong key")
    night.state.best = replace(night.best, body="    return '\x1b\u202e'")
    assert not {"\x1b", "\u202e"} & set(shown.show(night))


def test_pictures_of_programs_are_images_in_the_report(shown: Shown):
    assert "data:image" not in shown.show(a_night(5.25))
    pictures = {"aaaaaaaaaaaa": "<svg/>", program(5.25).id: f"<svg>{'x' * 400_000}</svg>"}
    text = shown.show(a_night(5.25, pictures=pictures))
    images = re.findall(r"!\[(\w+)\]\(data:image/svg\+xml;base64,\S+\)", text)
    assert images == ["start"], "what is too large is left out"


def test_the_state_is_shown_only_when_an_update_is_due(shown: Shown):
    shown.artifacts.begin(*NIGHT)
    for best in (5.25, 7.5):
        shown.artifacts.update(a_night(best))
    assert program(7.5).id not in shown.text(), "the next one is due in 20 s"
    shown.artifacts.update(a_night(7.5), now=True)
    assert program(7.5).id in shown.text()


def test_a_server_that_cannot_be_reached_is_noted(tmp_path: Path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from overnight.flows.night.prefect_artifacts import PrefectArtifacts

    notes: list[str] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed.getsockname()[1]}/api"}):
            artifacts = PrefectArtifacts("00000000-0000-0000-0000-000000000001", notes.append)
        artifacts.begin(*NIGHT)
        artifacts.update(a_night(5.25))
        artifacts.link_report(tmp_path / "report.html")
    assert len(notes) == 3
    assert all("Prefect's UI is incomplete" in note for note in notes)
