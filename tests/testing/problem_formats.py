"""Contract of problem formats: one knows its own problems, and treats a stranger's files as data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from overnight import tasks
from overnight.flows.start.trust import accept, proposals_of
from overnight.schemas import plugins
from overnight.schemas.errors import UntrustedSettings, UsageError
from overnight.schemas.problem import Problem
from overnight.schemas.settings import Sandbox
from overnight.tasks.problems.loading import load
from overnight.tasks.problems.loading.formats import NamedProblem, directory
from overnight.tasks.problems.loading.load import find_format, formats, load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since, settings_not_in_files, with_overrides
from overnight.tasks.program.make_problem import restore_problem

OURS = Path(tasks.__file__ or "").resolve().parent
SECRET = '["secret"]'
ADDRESS = "http://127.0.0.1:9/theirs"
TRAP = "import pathlib\npathlib.Path(__file__ + '.executed').touch()\n"
"""Beginning of every Python file: it leaves a file behind if it is executed."""

UNUSED = "colour_of_the_report"
"""Name of a setting that no format uses."""


@dataclass(frozen=True)
class Example:
    """A problem of one format.

    Attributes:
        format: Name of the format; of a plug-in, that of its entry point.
        files: Text of every file in the folder, by path.
        named: Path that the user names, relative to the folder.
        read: Files that are read where they exist, with those of `files`.
        left_out: Files that are not part of the problem where they are links, rather than refused.
        needed: Files without which the problem is not of this format.
        unused: File with a setting that is not used, and its text.
        proposing: Files that propose an address, each with its text, besides `overnight.toml`.
        start: File that has the start program, if it is neither the one that is named nor one that evolves.
    """

    format: str
    files: dict[str, str]
    named: str = "."
    read: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    unused: tuple[str, str] = ("overnight.toml", "")
    proposing: tuple[tuple[str, str], ...] = ()
    start: str = ""

    def write(self, folder: Path) -> Path:
        """Write the files, and return the path that the user names."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TRAP + text if path.suffix == ".py" else text)
        return folder / self.named


COMMAND = 'files = ["data.csv"]\n[command]\nprogram = "main.py"\nevaluate = ["python3", "score.py", "{program}"]\n'


def loaded(path: Path, flags: dict[str, Any] | None = None) -> Problem | UsageError:
    """Return the problem, or why it is refused."""
    try:
        return load_problem(path, flags)
    except UsageError as error:
        return error


def shown(problem: Problem) -> str:
    """Return all text of a problem that prompts, containers and histories may have."""
    files = "\n".join(file.content.decode() for file in problem.files)
    return f"{problem.specification.text}\n{problem.settings.model_dump_json()}\n{files}"


def linked(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def private(path: Path) -> None:
    linked(path, next(parent / "private.json" for parent in path.parents if (parent / "private.json").exists()))


def environment(path: Path) -> None:
    linked(path, Path("/proc/self/environ"))


def device(path: Path) -> None:
    linked(path, Path("/dev/zero"))


def endless(path: Path) -> None:
    linked(path, path)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def huge(path: Path) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(2**40)


PROPOSALS = f"""
[[sampling.models]]
name = "openai/theirs"
api_base = "{ADDRESS}"
[sandbox]
image = "theirs:latest"
runtime = "theirs"
backend = "theirs"
"""

WATCH = """
import json, os, sys
from pathlib import Path
from overnight.tasks.program.make_problem import restore_problem
from overnight.tasks.problems.loading.load import load_problem
path, allowed = Path(sys.argv[1]), sys.argv[2:]
load_problem(path)  # imports all that loading needs
seen = []
REFUSED = ("import", "exec", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen",
           "socket.connect", "socket.bind", "os.remove", "os.rename", "os.mkdir", "os.symlink", "os.chmod")
def watch(event, args):
    if event in REFUSED:
        seen.append([event, repr(args)[:200]])
    elif event in ("open", "os.listdir", "os.scandir") and not isinstance(args[0], int):
        place = os.path.realpath(args[0])
        writes = event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or not any(str(place).startswith(folder) for folder in allowed):
            seen.append([event, repr(args)[:200]])
sys.addaudithook(watch)
problem = load_problem(path)
restore_problem(problem.name, problem.specification.text, problem.settings.model_dump(mode="json"), problem.files)
print(json.dumps(seen))
"""


class ProblemFormatContract:
    """What a format keeps to; a subclass has the fixture `example`."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The folder of the problem, beside a private file."""
        (tmp_path / "private.json").write_text(SECRET)
        (tmp_path / "problem").mkdir()
        return tmp_path / "problem"

    @pytest.fixture(autouse=True)
    def config(self, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The configuration file of a user who has accepted nothing; it exists for a format of a plug-in."""
        config = tmp_path / "config.toml"
        if example.format not in load.OURS:
            config.write_text(f'plugins.problem_formats = ["{example.format}"]\n')
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("OVERNIGHT_CONFIG", str(config))
        return config

    def test_it_recognises_its_own_problems_and_no_other_format_does(self, example: Example, folder: Path):
        named = NamedProblem(example.write(folder))
        plugin = plugins.find("problem_formats", example.format)
        expected = plugin.load("FORMAT") if plugin else load.OURS[example.format]
        assert [form for form in formats() if form.recognises(named)] == [expected]

    def test_a_directory_that_names_its_own_command_is_not_taken_for_a_task(self, example: Example, folder: Path):
        path = example.write(folder)
        if path.is_dir():
            (path / "main.py").write_text("x = 1\n")
            (path / "overnight.toml").write_text(COMMAND.replace('files = ["data.csv"]', ""))
            assert find_format(NamedProblem(path)) is directory.FORMAT
            assert load_problem(path).settings.command.program == "main.py"

    def test_the_problem_has_a_name_a_start_program_and_at_least_one_input(self, example: Example, folder: Path):
        problem = load_problem(example.write(folder))
        assert problem.name == Path(folder, example.named).resolve().stem.replace("_", "-")
        assert "x = 1" in problem.specification.start_program.main or problem.specification.run
        assert len(problem.job().inputs) == 1

    def test_flags_override_overnight_toml_and_that_overrides_the_format_s_own_settings(
        self, example: Example, folder: Path
    ):
        path = example.write(folder)
        with (folder / "overnight.toml").open("a") as file:
            file.write("\n[limits]\nwall_s = 7\nmemory_mib = 300\n")
        problem = load_problem(path, {"limits": {"wall_s": 8}})
        assert (problem.settings.limits.wall_s, problem.settings.limits.memory_mib) == (8, 300)
        assert settings_not_in_files(problem, path) == {"limits.wall_s": 8.0}

    def test_a_setting_that_is_not_used_is_named_in_a_note_or_refused(self, example: Example, folder: Path):
        path = example.write(folder)
        name, text = example.unused
        (folder / name).write_text(text)
        found = loaded(path)
        assert UNUSED in (str(found) if isinstance(found, UsageError) else "\n".join(found.notes))

    def test_what_is_missing_is_explained_with_a_remedy(self, example: Example, folder: Path):
        for name in example.needed:
            path = example.write(folder)
            (folder / name).unlink()
            with pytest.raises(UsageError) as caught:
                load_problem(path)
            assert caught.value.remedy, name

    @pytest.mark.parametrize(
        "make", [private, environment, device, endless, pipe, huge], ids=lambda make: make.__name__
    )
    def test_links_to_outside_pipes_devices_and_huge_files_are_refused_with_a_remedy(
        self, example: Example, make: Callable[[Path], None], folder: Path
    ):
        path = example.write(folder)
        for name in dict.fromkeys((*example.files, *example.read)):
            if name == example.named and make in (private, environment):
                continue  # The file that the user names may be a link to anywhere.
            before = (folder / name).read_bytes() if (folder / name).exists() else None
            make(folder / name)
            found = loaded(path)
            if isinstance(found, UsageError):
                assert found.remedy, name
                assert SECRET not in str(found)
            else:
                assert name in example.left_out
                assert name not in [file.path for file in found.files]
            (folder / name).unlink()
            if before is not None:
                (folder / name).write_bytes(before)
        load_problem(path)

    def test_files_that_are_not_text_are_data_or_refused_with_a_remedy(self, example: Example, folder: Path):
        for name in dict.fromkeys((*example.files, *example.read)):
            path = example.write(folder)
            (folder / name).write_bytes(b"\xff\xfe\0")
            found = loaded(path)
            assert not isinstance(found, UsageError) or found.remedy, name
            (folder / name).unlink()

    @pytest.mark.parametrize("setting", ["inputs", "files", "command.program", "command.evaluate"])
    def test_a_path_to_outside_is_refused_or_not_followed(self, example: Example, setting: str, folder: Path):
        path = example.write(folder)
        for outside in ("../private.json", str(folder.parent / "private.json")):
            *tables, key = setting.split(".")
            given = {key: ["cat", outside] if setting == "command.evaluate" else [outside]}
            found = loaded(path, {tables[0]: given} if tables else given)
            if isinstance(found, UsageError):
                assert found.remedy, outside
                assert SECRET not in str(found)
            else:
                assert setting.startswith("command."), "inputs and files are of every format"
                assert SECRET not in shown(found)

    def test_settings_of_a_stranger_that_reach_outside_of_the_sandbox_wait_for_consent(
        self, example: Example, folder: Path
    ):
        path = example.write(folder)
        with (folder / "overnight.toml").open("a") as file:
            file.write(PROPOSALS)
        problem = load_problem(path)
        proposed = {proposal.setting for proposal in proposals_of(problem)}
        assert proposed == {"sampling.models", "sandbox.image", "sandbox.runtime", "sandbox.backend"}
        with pytest.raises(UntrustedSettings, match=r"sandbox\.backend"):
            accept(problem)
        with pytest.raises(UntrustedSettings, match=r"sandbox\.backend"):
            accept(problem, trust=True)

    def test_an_address_in_the_format_s_own_files_is_a_proposal_or_not_used(self, example: Example, folder: Path):
        for name, text in example.proposing:
            path = example.write(folder)
            (folder / name).write_text(text)
            problem = load_problem(path)
            in_settings = ADDRESS in problem.settings.model_dump_json()
            assert in_settings == any(ADDRESS in proposal.value for proposal in proposals_of(problem))
            assert problem.settings.sandbox.model_copy(update={"confirm": Sandbox().confirm}) == Sandbox()

    def test_loading_imports_executes_and_writes_nothing_and_reads_only_the_folder(
        self, example: Example, folder: Path, config: Path
    ):
        path = example.write(folder)
        done = subprocess.run(
            [sys.executable, "-c", WATCH, path, f"{folder}{os.sep}", str(folder), f"{OURS}{os.sep}", str(config)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == []
        assert not list(folder.rglob("*.executed"))

    def test_the_problem_of_a_stored_run_is_equal_to_the_one_that_was_loaded(self, example: Example, folder: Path):
        problem = load_problem(example.write(folder))
        settings = json.loads(problem.settings.model_dump_json())
        restored = restore_problem(problem.name, problem.specification.text, settings, problem.files)
        assert restored == replace(problem, notes=())
        assert (restored.hash, restored.job("train", 3)) == (problem.hash, problem.job("train", 3))
        assert proposals_of(restored) == proposals_of(problem)

    def test_the_problem_of_a_run_is_compared_with_its_files_and_gets_other_settings(
        self, example: Example, folder: Path
    ):
        path = example.write(folder)
        problem = load_problem(path)
        assert (changed_since(problem, path), settings_not_in_files(problem, path)) == ([], {})
        (folder / "seven.json").write_text("[7]")
        changed = with_overrides(problem, path, {"inputs": ["seven.json"]})
        assert changed.settings.inputs == ([7],)
        start = folder / (example.start or (problem.settings.command.evolving_paths or (example.named,))[0])
        start.write_text(start.read_text() + "\ny = 2\n")
        assert changed_since(problem, path) == [start.name]
        assert changed_since(problem, folder / "gone" / "away") == []
