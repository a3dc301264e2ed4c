"""The READMEs are true: their commands run in the order of reading, generated parts are current, links lead on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock

from overnight.flows.cli.main import COMMANDS
from overnight.schemas.outcome import Outcome
from overnight.schemas.sampling_settings import Model
from overnight.schemas.settings import setting_names
from overnight.schemas.views import MACROS, VIEWS
from overnight.testing.fake_provider import Provider
from overnight.testing.made import create, grow
from tests import docs
from tests.command_server import start_script
from tests.conftest import QUICK
from tests.page_commands import blocks, commands, name_of, programs_in, run_blocks, with_few_samples

ROOT = docs.ROOT
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [*docs.readmes(), CONTRIBUTING, ROOT / "SECURITY.md"]


ROOMS = [page for page in docs.readmes() if page != README and page.name == "README.md" and commands(page)]


@pytest.fixture(scope="module")
def morning(shared_folder: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of someone who has typed the commands of the main README; one process of a test run makes it."""
    folder = shared_folder / "readme"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = shared_folder / "readme.partial"
            partial.mkdir()
            specification, _ = blocks(README, "python")
            (partial / "spread.py").write_text(specification)
            api = request.getfixturevalue("prefect_api")
            with Provider() as provider:
                run_blocks(README, partial, api, provider, programs_in(shared_folder), in_containers=1)
            partial.rename(folder)
    return folder


@pytest.mark.docker
@pytest.mark.prefect
@pytest.mark.timeout(900)
def test_the_commands_of_the_main_readme_run_in_the_order_of_reading_and_its_script_after_them(
    morning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shutil.copytree(morning, tmp_path / "folder")
    assert (folder / "better.py").is_file()
    _, script = blocks(README, "python")
    (tmp_path / "script.py").write_text(with_few_samples(script))
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    with start_script(tmp_path / "script.py", folder) as process:
        process.communicate()
    assert process.returncode == 0
    assert len(list(folder.glob("*.html"))) == 3, "of the recorded night, of the command and of the script"


@pytest.mark.docker
@pytest.mark.prefect
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ROOMS, ids=name_of)
def test_the_commands_of_a_room_s_readme_run_after_them(
    page: Path, morning: Path, tmp_path: Path, provider: Provider, request: pytest.FixtureRequest
):
    folder = shutil.copytree(morning, tmp_path / "folder")
    api = request.getfixturevalue("prefect_api") if "overnight schedule" in "".join(commands(page)) else ""
    run_blocks(page, folder, api, provider, programs_in(tmp_path))
    if page.parent.name == "sample":
        assert provider.requests, "a model was asked over HTTP"


def test_every_room_has_a_readme():
    rooms = [ROOT / room for room in ("flows", "schemas", "infra", "tests/bench")]
    rooms += [path for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").is_file()]
    for room in rooms:
        assert (room / "README.md").is_file(), room
        assert f"]({room.relative_to(ROOT)}/README.md)" in README.read_text(), room


@pytest.mark.parametrize("page", docs.readmes(), ids=name_of)
def test_generated_parts_are_as_the_code_has_them(page: Path):
    text = page.read_text()
    assert text == docs.rewrite(text), "run `make docs`"


def test_every_generated_part_stands_in_one_readme():
    assert sorted(name for page in docs.readmes() for name in docs.generated_in(page.read_text())) == sorted(docs.PARTS)


def test_every_setting_view_macro_and_column_is_generated():
    settings = docs.settings()
    for name in (*setting_names(), *Model.model_fields):
        assert f"| `{name}` |" in settings
    for name, view in VIEWS.items():
        assert f"| `{name}` | {view.description} |" in docs.views()
    for macro in MACROS.values():
        assert f"| `{macro.call}` | {macro.description} |" in docs.views()
    columns = docs.columns()
    for name in (column for view in VIEWS.values() for column in view.columns):
        assert f"| `{name}` |" in columns


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return set(map(anchor, re.findall(r"^#+ (.+)$", prose, re.MULTILINE)))


def anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_with_their_room_exist(page: Path):
    named = re.findall(
        r"`((?:flows|tasks|schemas|infra|tests)/[a-z0-9_./-]+\.(?:py|md|sql|yaml|toml))`", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_figures_name_the_command_that_measures_them():
    _, *sections = re.split(r"^## ", (ROOT / "tests/bench/README.md").read_text(), flags=re.MULTILINE)
    without = [
        text.partition("\n")[0]
        for text in sections
        if not re.search(r"python (-m )?tests.bench|pytest |overnight run ", text)
    ]
    assert without == []


REFERENCE = re.compile(r"without a model|than the line|`plain`|NSGA-II")
INTERVAL = r"\[[−+][\d.]+, [−+][\d.]+\]"
SPREAD = re.compile(rf"{INTERVAL}|\bfrom −?[\d.]+ to −?[\d.]+|\b(\d+|nine|ten) of (\d+|nine|ten)\b")
"""An interval, a range, or so many of so many searches."""


def test_figures_that_claim_quality_have_a_reference_seeds_and_an_interval():
    page = (ROOT / "tests/bench/README.md").read_text()
    (listed,) = re.findall(r"^- Quality: (.+?)\n\n", page, re.MULTILINE | re.DOTALL)
    _, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    claims = {text.splitlines()[0]: text for text in sections if f"(#{anchor(text.splitlines()[0])})" in listed}
    assert len(claims) == listed.count("](#")
    for title, text in claims.items():
        assert REFERENCE.search(text), f"{title}: beside what?"
        assert re.search(r"\bseeds?\b", text, re.IGNORECASE), f"{title}: of which seeds?"
        assert SPREAD.search(text), f"{title}: how much do searches differ?"


def test_every_difference_from_a_reference_has_an_interval():
    page = (ROOT / "tests/bench/README.md").read_text()
    (table,) = re.findall(r"^\| system \| against \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    for row in table.splitlines():
        _, _, against, *figures, _ = map(str.strip, row.split("|"))
        assert against
        differences = [figure for figure in figures if figure.startswith(("−", "+"))]
        assert len(differences) == 3
        assert all(re.fullmatch(rf"[−+][\d.]+ {INTERVAL}", figure) for figure in differences), row


def test_the_main_readme_is_short_and_names_two_commands():
    text = README.read_text()
    assert len(docs.without_generated(text).splitlines()) <= 250
    targets = re.findall(r"^make (\w+)", "\n".join(blocks(README, "sh")), re.MULTILINE)
    assert targets == ["demo", "test"]


def test_targets_of_the_makefile_exist():
    text = "\n".join(page.read_text() for page in PAGES)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_and_outcome_is_listed():
    flows, evaluate = ((ROOT / room / "README.md").read_text() for room in ("flows", "tasks/evaluate"))
    for name in COMMANDS:
        assert f"| `overnight {name}" in flows
    for outcome in Outcome:
        assert f"| `{outcome.value}` |" in evaluate


def test_the_glossary_is_short():
    (glossary,) = re.findall(r"^\| term \|.*\n\|---.*\n((?:\|.*\n)+)", CONTRIBUTING.read_text(), re.MULTILINE)
    assert len(glossary.splitlines()) <= 40


def test_other_tools_read_the_files_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = ROOT / "tasks/history/README.md"
    history_to_read = tmp_path / "history"
    grow(create(history_to_read, islands=2, prompts=3), 2)
    monkeypatch.chdir(tmp_path)
    (query,), (program,) = blocks(page, "sql"), blocks(page, "py")
    with duckdb.connect() as plain:
        assert plain.sql(query).fetchall()
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint(programs.num_rows)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7\n"
