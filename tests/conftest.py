"""Fixtures of all tests, beside those of `overnight.testing`: a Prefect server and an S3 server on loopback."""

from __future__ import annotations

import gc
import os
import re
import secrets
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from filelock import FileLock

from overnight.flows.environment import SERVER_VARIABLES, prepare
from tests.command_server import FOLDER, IN_PROCESS, OWNER, WITHOUT_PREFECT
from tests.prefect_database import MigratedDatabase, shared_server
from tests.toys import SCORE, TOY, toy_with

if TYPE_CHECKING:
    from tests.objects import ObjectServer

# The same examples every time, without a time limit for slow machines; `make soak`, and whoever changes a parser or the
# core of a night, passes `--hypothesis-profile thorough`.
hypothesis.settings.register_profile("overnight", derandomize=True, deadline=None, database=None, max_examples=25)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("overnight"), max_examples=500)
hypothesis.settings.load_profile("overnight")

prepare()
gc.set_threshold(50_000)  # as in commands
os.environ.update(SERVER_VARIABLES)
# A background job of a shell ignores Ctrl-C, and so do the processes that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
_slots = tempfile.TemporaryDirectory(prefix="overnight-slots-")
os.environ["OVERNIGHT_SLOTS"] = _slots.name  # share no slots with other nights on this machine
os.environ.pop("OVERNIGHT_CLUSTER", None)
_state = tempfile.TemporaryDirectory(prefix="overnight-state-")
os.environ["XDG_STATE_HOME"] = _state.name  # keep accepted settings and the password apart from the user's
os.environ["OVERNIGHT_CONFIG"] = os.path.join(_state.name, "config.toml")
# A container costs more processor time than the few candidates of most tests; those of several slots ask for them.
Path(os.environ["OVERNIGHT_CONFIG"]).write_text("sandbox.slots = 1\n")
ON_PROCESSES = {"OVERNIGHT_CONFIG": os.path.join(_state.name, "processes.toml")}
"""Environment of commands whose harmless programs run in plain processes, which start sooner than containers."""
PLAIN = {**ON_PROCESSES, WITHOUT_PREFECT: "1"}
"""The same for commands of whose nights no Prefect server need know, where they are forked."""
QUICK = {**PLAIN, IN_PROCESS: "1"}
"""The same where, besides, the commands evaluate programs in their own processes."""
Path(ON_PROCESSES["OVERNIGHT_CONFIG"]).write_text('sandbox.slots = 1\nsandbox.backend = "process"\n')
# All servers and clients of the tests share one password, as if the user had set it.
os.environ["PREFECT_SERVER_API_AUTH_STRING"] = os.environ["PREFECT_API_AUTH_STRING"] = "tests:of-no-consequence"

if FOLDER not in os.environ:  # this is the first process of a test run; the others inherit the variable
    _commands = tempfile.TemporaryDirectory(prefix="overnight-commands-")
    os.environ[FOLDER] = _commands.name
    Path(_commands.name, OWNER).write_text(str(os.getpid()))

pytest_plugins = ["overnight.testing"]

SPECIFICATIONS = Path(__file__).parent / "specifications"


@pytest.fixture(autouse=True)
def _no_cluster_is_left() -> Iterator[None]:
    """A command that runs in this process names its cluster in the environment, as for its own children."""
    yield
    os.environ.pop("OVERNIGHT_CLUSTER", None)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def migrated_database(pytestconfig: pytest.Config) -> MigratedDatabase:
    """The empty database of Prefect's version, which the first test run keeps for later ones."""
    assert pytestconfig.cache is not None
    return MigratedDatabase(pytestconfig.cache.mkdir(f"prefect-{version('prefect')}"))


@pytest.fixture(scope="session")
def prefect_home(shared_folder: Path, migrated_database: MigratedDatabase) -> Path:
    """The PREFECT_HOME of the server that all processes of a test run share."""
    home = shared_folder / "prefect"
    with FileLock(f"{home}.lock"):
        return home if home.exists() else migrated_database.home(home)


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> str:
    """The address of a Prefect server with a database that is empty at first, which runs until the tests end."""
    os.environ["PREFECT_HOME"] = str(prefect_home)
    return shared_server(prefect_home)


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[str]:
    """Run flows on the tests' own server, and return its address."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield prefect_api


@pytest.fixture(scope="session")
def _objects() -> Iterator[ObjectServer]:
    from tests.objects import object_store

    with object_store() as store:
        yield store


@pytest.fixture
def objects(_objects: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectServer:
    """An S3 server, with its keys in the environment of this process and its children, and an empty cache."""
    from tests.objects import KEY, SECRET

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "cache"))
    return _objects


@pytest.fixture
def bucket(objects: ObjectServer) -> str:
    """The URL of a history in a new bucket."""
    name = f"b-{secrets.token_hex(6)}"
    objects.files.create_dir(name)
    return objects.url(name)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run programs in plain processes, also those of the commands that the test starts."""
    monkeypatch.setenv("OVERNIGHT_CONFIG", ON_PROCESSES["OVERNIGHT_CONFIG"])


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts of this process's reports empty, for a test that reads the text of a page."""
    from tests.in_process import draw_no_charts

    draw_no_charts(monkeypatch.setattr)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, without_charts: None) -> None:
    """Evaluate programs in the processes of all commands, this one among them, whose nights do without Prefect."""
    from tests.in_process import run_commands_without_prefect, use_this_process

    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    run_commands_without_prefect(monkeypatch.setattr)
    use_this_process(monkeypatch.setattr)


@pytest.fixture
def toy() -> Path:
    """A specification that is scored quickly, by the distance of a number from 10."""
    return TOY


@pytest.fixture
def slow_toy(tmp_path: Path) -> Path:
    """The same, but each score takes a quarter of a second of sleep: for nights that go on until a test ends them."""
    return toy_with(tmp_path / "slow/toy.py", score=f"import time\n\n    time.sleep(0.25)\n    {SCORE}")


_FIRST = (
    "tests/test_readme.py",
    "tests/flows/cli/test_serve.py",
    "tests/flows/api/test_documents.py",
    "tests/flows/prefect_server/test_server_outage.py",
    "tests/examples/test_plugin_package.py",
    "tests/test_guides.py",
    "tests/infra/",
    "tests/flows/night/",
    "tests/flows/",
)
"""Tests that wait for nights, the longest first."""

_PROCESSES = 4
"""Processes of `make test`."""

_HEAVY = (
    "tests/contract/test_provider.py",
    "tests/evaluate/test_host_slots.py",
    "tests/examples/test_plugin_package.py",
    "tests/flows/api/",
    "tests/flows/cli/test_archive.py",
    "tests/flows/cli/test_backend.py",
    "tests/flows/cli/test_baseline.py",
    "tests/flows/cli/test_cluster_commands.py",
    "tests/flows/cli/test_commands.py",
    "tests/flows/cli/test_contest.py",
    "tests/flows/cli/test_directory.py",
    "tests/flows/cli/test_errors.py",
    "tests/flows/cli/test_forecast.py",
    "tests/flows/cli/test_init.py",
    "tests/flows/cli/test_interventions.py",
    "tests/flows/cli/test_json_output.py",
    "tests/flows/cli/test_program.py",
    "tests/flows/cli/test_recorded_nights.py",
    "tests/flows/cli/test_replay.py",
    "tests/flows/cli/test_rescore.py",
    "tests/flows/cli/test_run.py",
    "tests/flows/cli/test_sql.py",
    "tests/flows/cli/test_terminal.py",
    "tests/flows/cli/test_together.py",
    "tests/flows/night/test_agents.py",
    "tests/flows/night/test_confirmation_in_a_night.py::test_an_engine",
    "tests/flows/night/test_early_requests.py",
    "tests/flows/night/test_remote.py",
    "tests/flows/night/test_interventions.py::test_what_people_ask",
    "tests/flows/night/test_planning.py::test_plans_rebuilt",
    "tests/flows/night/test_several_files.py::test_nights_with",
    "tests/flows/report/test_drawing.py",
    "tests/flows/report/test_front.py",
    "tests/flows/report/test_old_histories.py",
    "tests/flows/start/test_audit.py",
    "tests/flows/start/test_own_process.py",
    "tests/flows/start/test_environment.py::test_litellm_sends_keys_nowhere",
    "tests/flows/start/test_environment.py::test_settings_of_prefect_are_found_in_every_notation",
    "tests/flows/start/test_history_attacks.py::test_a_small_file_that_expands",
    "tests/flows/prefect_server/test_server_access.py::test_a_configured_server_never_gets",
    "tests/flows/prefect_server/test_server_access.py::test_a_database_in_another_folder",
    "tests/flows/prefect_server/test_server_access.py::test_a_proxy_never_gets",
    "tests/history/test_archive.py",
    "tests/history/test_compact.py",
    "tests/history/test_database.py::test_every_question",
    "tests/history/test_files.py::test_a_process_that_ends",
    "tests/history/test_files.py::test_a_full_disk",
    "tests/history/test_files.py::test_a_damaged_footer",
    "tests/history/test_files.py::test_a_file_with_flipped_bits",
    "tests/history/test_interventions.py::test_after_a_drop_of_the_winner",
    "tests/history/test_lease.py",
    "tests/history/test_object_store.py",
    "tests/history/test_private_files.py",
    "tests/history/test_query_access.py",
    "tests/history/test_query_process.py",
    "tests/history/test_remote.py",
    "tests/infra/test_agent_skill.py",
    "tests/problems/test_builtin_problems.py::test_the_start_program",
    "tests/problems/test_matrix_multiplication.py::test_four_by_four_begins",
    "tests/problems/test_matrix_multiplication.py::test_the_search_finds",
    "tests/problems/test_learning.py",
    "tests/problems/test_pictures.py",
    "tests/problems/test_recorded_nights.py",
    "tests/real_answers/test_figures.py",
    "tests/report/test_machines_table.py",
    "tests/report/test_page.py",
    "tests/report/test_pictures.py",
    "tests/report/test_report_after_retry.py",
    "tests/report/test_watch.py",
    "tests/report/test_whole_population.py",
    "tests/sample/test_batch_api.py",
    "tests/sample/test_batch_job.py",
    "tests/sample/test_cached_tokens.py",
    "tests/sample/test_commands.py",
    "tests/sample/test_model_judge.py",
    "tests/sample/test_parsing_evolving_files.py::test_a_hostile",
    "tests/sample/test_provider_plugins.py",
    "tests/simulated/",
    "tests/test_command_server.py",
    "tests/test_hygiene.py::test_no_flag",
    "tests/test_hygiene.py::test_quick_commands",
    "tests/test_hygiene.py::test_what_is_typed",
    "tests/test_guides.py",
)
"""Tests that need neither Docker nor Prefect and still take seconds: marked `heavy`, left out of `make check`."""


_ALL_ARE = re.compile(r"^pytestmark = .*pytest\.mark\.(docker|prefect|slow|heavy)", re.MULTILINE)
"""What a module has whose tests all have a mark."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module all of whose tests are left out."""
    left_out = re.findall(r"not (\w+)", config.option.markexpr)
    if collection_path.suffix != ".py" or not left_out:
        return None
    if "heavy" in left_out and str(collection_path.relative_to(config.rootpath)).startswith(_HEAVY):
        return True
    marked = _ALL_ARE.search(collection_path.read_text())
    return True if marked and marked[1] in left_out else None


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make only: a tenth of the processor time of those that compute."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_HEAVY):
            item.add_marker(pytest.mark.heavy)
    files = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        files[item.nodeid.partition("::")[0]].append(item)
    items[:] = [item for file in _mixed(list(files)) for item in files[file]]


def _mixed(files: list[str]) -> list[str]:
    """Return files in an order in which some process computes while others wait for nights.

    Each process begins with its part of the list, and takes from the parts of others once it has nothing left.
    """
    places = {
        file: next((n for n, start in enumerate(_FIRST) if file.startswith(start)), len(_FIRST)) for file in files
    }
    waiting = sorted((file for file in files if places[file] < len(_FIRST)), key=places.__getitem__)
    computing = [file for file in files if places[file] == len(_FIRST)]
    mixed: list[str] = []
    for part in range(_PROCESSES):
        kinds = (waiting[part::_PROCESSES], computing[part::_PROCESSES])
        placed = [(number / len(kind), file) for kind in kinds for number, file in enumerate(kind)]
        mixed += [file for _, file in sorted(placed, key=lambda one: one[0])]
    return mixed
