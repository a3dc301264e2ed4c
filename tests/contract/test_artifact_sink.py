"""What every artifact sink keeps to: it shows the current state and nothing older; its faults do not end a night."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from flows.artifacts import NightArtifacts
from schemas.errors import EnvironmentFault
from schemas.night_view import ArtifactSink, NightStart, NightView
from schemas.program import Program

START = Program("aaaaaaaaaaaa", "return 0", (1.0,), 1.0)
BEST = Program("bbbbbbbbbbbb", "return 5", (5.25,), 5.25)
BETTER = Program("cccccccccccc", "return 7", (7.5,), 7.5)
NIGHT = NightStart("toy-run", "toy", 3)
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
    """A sink, and what it shows.

    Attributes:
        sink: The sink.
        text: Function that returns all that it shows now, as one text.
        broken: Another one, whose place cannot be reached.
    """

    sink: ArtifactSink
    text: Callable[[], str]
    broken: ArtifactSink


class ArtifactSinkContract:
    """Tests of one sink; a subclass provides the fixture `shown`."""

    def test_the_current_state_is_shown(self, shown: Shown):
        shown.sink.begin(NIGHT)
        shown.sink.show(VIEW)
        text = shown.text()
        for part in ("toy-run", BEST.id, "5.25", "sampling"):
            assert part in text

    def test_a_later_state_takes_the_place_of_an_earlier_one(self, shown: Shown):
        shown.sink.begin(NIGHT)
        for view in (VIEW, LATER, LATER):
            shown.sink.show(view)
        text = shown.text()
        assert BETTER.id in text
        assert "evaluating" in text
        assert "sampling" not in text

    def test_control_characters_of_programs_and_messages_are_not_shown_as_such(self, shown: Shown):
        shown.sink.begin(NIGHT)
        shown.sink.show(replace(VIEW, message="\x1b[31m a wrong key", best_text="def f():\n    return '\x1b\u202e'"))
        assert not {"\x1b", "\u202e"} & set(shown.text())

    def test_the_report_is_named(self, shown: Shown, tmp_path: Path):
        shown.sink.begin(NIGHT)
        shown.sink.show(VIEW)
        shown.sink.link_report(tmp_path / "report.html")
        assert str(tmp_path / "report.html") in shown.text()
        assert BEST.id in shown.text()

    def test_a_place_that_cannot_be_reached_is_an_environment_fault(self, shown: Shown, tmp_path: Path):
        calls = (
            lambda: shown.broken.begin(NIGHT),
            lambda: shown.broken.show(VIEW),
            lambda: shown.broken.link_report(tmp_path / "report.html"),
        )
        for call in calls:
            with pytest.raises(EnvironmentFault):
                call()


@pytest.mark.prefect
class TestPrefect(ArtifactSinkContract):
    @pytest.fixture
    def shown(self, prefect: str) -> Iterator[Shown]:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.night.generation import generation
        from flows.prefect_artifacts import open_sink

        with get_client(sync_client=True) as client, socket.socket() as closed:
            parameters = {"run_id": "toy-run", "number": 1, "history": "there"}
            flow_run = client.create_flow_run(cast("Any", generation), parameters=parameters)
            mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))

            def text() -> str:
                found = client.read_artifacts(artifact_filter=mine)
                return "\n".join(f"{artifact.key} {artifact.data} {artifact.description}" for artifact in found)

            closed.bind(("127.0.0.1", 0))
            with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed.getsockname()[1]}/api"}):
                broken = open_sink(str(flow_run.id))
            yield Shown(open_sink(str(flow_run.id)), text, broken)

    def test_pictures_are_images_in_the_text_on_the_best_program(self, shown: Shown):
        shown.sink.begin(NIGHT)
        shown.sink.show(VIEW)
        assert "data:image" not in shown.text()
        shown.sink.show(replace(VIEW, pictures={START.id: "<svg/>", BEST.id: f"<svg>{'x' * 400_000}</svg>"}))
        images = re.findall(r"!\[(\w+)\]\(data:image/svg\+xml;base64,\S+\)", shown.text())
        assert images == ["start"], "what is too large is left out"


@dataclass
class Recorder:
    """Sink that keeps what it is told, for tests; or fails at each call."""

    is_broken: bool = False
    shown: dict[str, object] = field(default_factory=dict)

    def begin(self, night: NightStart) -> None:
        self._keep("night", night)

    def show(self, view: NightView) -> None:
        self._keep("view", view)

    def link_report(self, path: Path) -> None:
        self._keep("report", str(path))

    def _keep(self, name: str, what: object) -> None:
        if self.is_broken:
            raise EnvironmentFault("the recorder is full")
        self.shown[name] = what


class TestRecorder(ArtifactSinkContract):
    @pytest.fixture
    def shown(self) -> Shown:
        recorder = Recorder()
        return Shown(recorder, lambda: repr(recorder.shown), Recorder(is_broken=True))


# All sinks of a night


def test_a_sink_that_fails_is_noted_and_the_others_are_updated(tmp_path: Path):
    recorder, notes = Recorder(), list[str]()
    artifacts = NightArtifacts([Recorder(is_broken=True), recorder], notes.append)
    artifacts.begin(NIGHT)
    artifacts.update(lambda: VIEW, now=True)
    artifacts.link_report(tmp_path)
    assert recorder.shown == {"night": NIGHT, "view": VIEW, "report": str(tmp_path)}
    assert notes == ["the recorder is full"] * 3


def test_the_state_is_computed_and_shown_only_when_an_update_is_due():
    recorder, computed = Recorder(), list[NightView]()
    artifacts = NightArtifacts([recorder], lambda _: None)

    def compute(view: NightView) -> NightView:
        computed.append(view)
        return view

    for view in (VIEW, LATER):
        artifacts.update(lambda view=view: compute(view))
    assert computed == [VIEW], "the next one is due in 20 s"
    artifacts.update(lambda: compute(LATER), now=True)
    assert computed == [VIEW, LATER]
    assert recorder.shown["view"] == LATER
