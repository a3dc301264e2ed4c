"""The worked examples of CONTRIBUTING.md for a history backend and for sinks pass the contract of their seam."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import types
from pathlib import Path
from urllib.parse import quote

import pytest

import flows
import tasks.history
from flows import artifacts, notification_sinks, notifications
from schemas.errors import UsageError
from schemas.generation import NightRecord, StopReason
from tasks.history import backends
from tasks.history.compact import compact
from tasks.history.files import runs_in
from tasks.history.local_backend import LocalBackend
from tasks.history.run_lock import run_lock
from tests.contract.test_artifact_sink import NIGHT, ArtifactSinkContract, Shown
from tests.contract.test_history_backend import HistoryBackendContract, Place, rows
from tests.contract.test_notification_sink import SECRET, Mailbox, NotificationSinkContract
from tests.history.made import NOW, create, grow
from tests.test_contributing import example


class TestTheExampleOfAHistoryBackend(HistoryBackendContract):
    """It passes the contract, and the copy is a history of its own."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        package = add_module(tasks.history, "copied_backend", tmp_path, monkeypatch)
        registration = example("register_copied_backend")
        register(registration, backends, monkeypatch)
        location = f"copied://{tmp_path}/history?copy={quote(f'{tmp_path}/copy', safe='')}"
        extend = f"import tasks.history; tasks.history.__path__.append({str(package)!r})"
        code = f"{extend}\nfrom tasks.history.backends import MODULES\n{registration}"
        return Place(backends.open_history(location), backends.open_history(location), {}, code)

    def test_the_copy_is_a_history_of_its_own(self, place: Place, tmp_path: Path):
        files = create(place.here, islands=2, prompts=3)
        with run_lock(files):
            grow(files, 4)
            compact(files, 1)
            grow(files, 1)
        before = rows(place.here)
        shutil.rmtree(place.here.root)
        copy = LocalBackend(tmp_path / "copy")
        assert rows(copy) == before
        (copied,) = runs_in(copy)
        with run_lock(copied):
            grow(copied, 1)
        assert copied.committed() == list(range(7))

    def test_a_location_without_two_absolute_directories_is_refused(self, place: Place):
        for location in ("copied:///here", "copied://here?copy=/there", "copied:///here?copy=there"):
            with pytest.raises(UsageError, match="does not name two directories"):
                backends.open_history(location)


class TestTheExampleOfANotificationSink(NotificationSinkContract):
    """It passes the contract, and `--notify` reaches it."""

    @pytest.fixture(autouse=True)
    def registered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add_module(flows, "lines_sink", tmp_path, monkeypatch)
        register(example("register_lines_sink"), notification_sinks, monkeypatch)

    @pytest.fixture
    def mailbox(self, tmp_path: Path) -> Mailbox:
        path = tmp_path / "lines"

        def received() -> list[tuple[str, str]]:
            return [(sent["title"], sent["text"]) for sent in map(json.loads, path.read_text().splitlines())]

        sinks = [notification_sinks.open_sink(f"lines://{tmp_path}/{name}", 1) for name in ("lines", f"{SECRET}/lines")]
        return Mailbox(sinks[0], received, sinks[1])

    def test_it_is_told_of_a_night_from_its_beginning_to_its_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(notifications, "_MIN_INTERVAL_S", 0.0)
        address = f"lines://{tmp_path}/night"
        with notifications.Notifier([address], gain=0.5).reporting_failure("toy") as notifier:
            for best in (1.0, 2.0):
                notifier.report_best("toy", best, " --history there")
            notifier.report_end("toy", night_record(), 1.0, [])
        with pytest.raises(UsageError), notifications.Notifier([address]).reporting_failure("toy"):
            raise UsageError("a wrong problem")
        lines = [json.loads(line) for line in (tmp_path / "night").read_text().splitlines()]
        assert [line["event"] for line in lines] == ["began", "best", "ended", "failed"]
        assert lines[0]["text"] == "Best score 1 so far.\nFollow it: overnight watch toy --history there"

    def test_an_address_without_an_absolute_path_is_refused(self):
        with pytest.raises(UsageError, match="address 2 names no absolute path"):
            notification_sinks.open_sink("lines://here", 2)


class TestTheExampleOfAnArtifactSink(ArtifactSinkContract):
    """It passes the contract, and a night has it beside Prefect's."""

    @pytest.fixture(autouse=True)
    def registered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add_module(flows, "status_sink", tmp_path, monkeypatch)
        monkeypatch.setattr(artifacts, "MODULES", [])  # Prefect's has its own tests
        exec(example("register_status_sink"), {"MODULES": artifacts.MODULES})

    @pytest.fixture
    def shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
        sinks = []
        for path in (tmp_path / "status.json", tmp_path / "nowhere" / "status.json"):
            monkeypatch.setenv("OVERNIGHT_STATUS", str(path))
            (module,) = artifacts.MODULES
            sinks.append(importlib.import_module(module).open_sink("an id"))
        return Shown(sinks[0], (tmp_path / "status.json").read_text, sinks[1])

    def test_a_registered_sink_belongs_to_the_artifacts_of_every_night(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("OVERNIGHT_STATUS", str(tmp_path / "status.json"))
        artifacts.open_artifacts("an id", lambda _: None).begin(NIGHT)
        assert json.loads((tmp_path / "status.json").read_text()) == {"run": "toy-run", "night": 3}


def add_module(package: types.ModuleType, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an example to a folder, and add that to a package; return it."""
    added = folder / "package"
    added.mkdir()
    (added / f"{name}.py").write_text(example(name))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(added)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
    importlib.invalidate_caches()
    return added


def register(code: str, registry: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute the line of an example that registers it, until the test ends."""
    monkeypatch.setattr(registry, "MODULES", dict(registry.MODULES))
    exec(code, {"MODULES": registry.MODULES})


def night_record() -> NightRecord:
    return NightRecord(
        number=1,
        started_at=NOW,
        ended_at=NOW,
        best_before=1.0,
        best_after=2.0,
        best_program_id="x",
        stop_reason=StopReason.TARGET,
    )
