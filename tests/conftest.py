"""What all tests share: the sandbox image, a Prefect server of their own, a model provider on loopback."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from flows.environment import SERVER, prepare
from tests.objects import KEY, SECRET, ObjectServer, object_store
from tests.prefect_database import MigratedDatabase
from tests.provider import Provider

# The same examples every time, however slow the machine is.
hypothesis.settings.register_profile("overnight", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("overnight")

prepare()
os.environ.update(SERVER)
# A shell's background job has Ctrl-C ignored, and what it starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
_slots = tempfile.TemporaryDirectory(prefix="overnight-slots-")
os.environ["OVERNIGHT_SLOTS"] = _slots.name  # other nights on this machine are none of the tests' business
_state = tempfile.TemporaryDirectory(prefix="overnight-state-")
os.environ["XDG_STATE_HOME"] = _state.name  # what a test accepts, and its password, are not the user's
os.environ["OVERNIGHT_CONFIG"] = os.path.join(_state.name, "config.toml")
# The servers of the tests have a password that all processes know, as one that a user gives.
os.environ["PREFECT_SERVER_API_AUTH_STRING"] = os.environ["PREFECT_API_AUTH_STRING"] = "tests:of-no-consequence"

SPECIFICATIONS = Path(__file__).parent / "specifications"


@pytest.fixture(scope="session")
def sandbox_image() -> str:
    """The image that candidates run in; `make setup` builds it."""
    return os.environ.get("OVERNIGHT_TEST_IMAGE", "overnight-sandbox:latest")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one pytest run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def migrated_database(shared_folder: Path) -> MigratedDatabase:
    return MigratedDatabase(shared_folder)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory, migrated_database: MigratedDatabase) -> Path:
    return migrated_database.home(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> Iterator[str]:
    """The address of a real Prefect server with an empty database, for as long as the tests run."""
    os.environ["PREFECT_HOME"] = str(prefect_home)
    from flows.prefect_server.embedded import EmbeddedServer

    server = EmbeddedServer()
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[str]:
    """Inside, flows run against the tests' own server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield prefect_api


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A model provider on loopback that speaks OpenAI's protocol and answers with mutated programs, as chat does."""
    with Provider() as running:
        yield running


@pytest.fixture(scope="session")
def _objects() -> Iterator[ObjectServer]:
    with object_store() as store:
        yield store


@pytest.fixture
def objects(_objects: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectServer:
    """An S3 server, whose keys this process and its children have, and an empty cache."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "cache"))
    return _objects


@pytest.fixture
def bucket(objects: ObjectServer) -> str:
    """The URL of a history in a bucket that is new."""
    name = f"b-{secrets.token_hex(6)}"
    objects.files.create_dir(name)
    return objects.url(name)


@pytest.fixture
def toy() -> Path:
    """A specification that is scored in no time: how near a number comes to 10."""
    return SPECIFICATIONS / "toy.py"


_FIRST = ("tests/test_readme.py", "tests/flows/")
"""Tests that wait for nights: begun first, so that quick ones fill the processes up at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((n for n, start in enumerate(_FIRST) if item.nodeid.startswith(start)), len(_FIRST))
    )
