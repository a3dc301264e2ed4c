"""Control characters in untrusted text are escaped on a terminal, and unchanged in files and pipes."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from overnight.flows.cli import printing, terminal
from overnight.schemas.escaping import INVISIBLE
from overnight.schemas.outcome import Outcome
from overnight.tasks.history import record, stored_run
from overnight.testing.made import NOW, a_generation, a_judged, create, grow
from tests.command_server import start_command
from tests.flows.cli.conftest import call

EVIL = "\x1b]0;owned\x07\x9b31m\u202eabc\u200b\U000e0041\xad\u2066"
"""Text that sets a terminal's title and colour, reverses its direction and contains invisible characters."""

ESCAPED = r"\x1b]0;owned\x07\x9b31m\u202eabc\u200b\U000e0041\xad\u2066"

BODY = f"sc\u0430le = 'x{EVIL}'\nreturn 1.0"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A history with hostile text in every text column, and the ids of its best program and of a failed one."""
    history = tmp_path_factory.mktemp("history")
    files = create(history)
    grow(files, 2)
    past = stored_run.read_run_history(files)
    parent = max(past.programs.values(), key=lambda program: program.score)
    best = a_judged(
        files.run_id, 3, 0, scores=(9.0, 9.0), parents=[parent.id], body=BODY, model=f"test/{EVIL}", text=f"said {EVIL}"
    )
    bad = a_judged(files.run_id, 3, 1, outcome=Outcome.CRASHED, body=BODY, model="test/cheap")
    bad = replace(bad, verdict=replace(bad.verdict, error=f"ValueError: {EVIL}", output=f"printed {EVIL}"))
    record.commit(files, a_generation(3, [best, bad], best.program(), (), NOW))
    return history, best.id, bad.id


class Terminal:
    """A command on a pseudo-terminal with 200 columns."""

    def __init__(self, history: Path, *arguments: str, **more: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        environment = {**os.environ, "OVERNIGHT_HISTORY": str(history), "TERM": "xterm-256color"}
        environment |= {"COLUMNS": "200", "LINES": "50", **more}  # override those of the test runner
        with Path(os.devnull).open() as nothing:
            self.process = start_command(arguments, environment, (nothing.fileno(), theirs, theirs))
        os.close(theirs)
        self.output = b""

    def read_until(self, part: bytes = b"", timeout_s: float = 60) -> str:
        """Return the output once it contains a part, or when the command has ended."""
        until = time.monotonic() + timeout_s
        while not (part and part in self.output) and time.monotonic() < until:
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self._ours, 65536)
                except OSError:
                    break
        return self.output.decode()

    def end(self, timeout_s: float = 60) -> str:
        """Wait for the command to end, and return its output."""
        output = self.read_until(timeout_s=timeout_s)
        self.process.wait(30)
        os.close(self._ours)
        return output


OWN_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
"""Control sequences of the program itself: colours, cursor movements and line ends."""


def assert_harmless(output: str) -> None:
    """Check that the output holds no control characters from the hostile text."""
    assert "\x1b]" not in output
    assert INVISIBLE.findall(OWN_CODES.sub("", output)) == []
    assert "\x9b" not in output


QUERY = "SELECT model, completion, error, output, body FROM programs WHERE generation = 3"


@pytest.mark.parametrize("view", [(), ("--why",)], ids=str)
def test_programs_are_escaped(hostile: tuple[Path, str, str], view: tuple[str, ...]):
    assert_harmless(Terminal(hostile[0], "show", hostile[2], *view).end())


def test_code_is_escaped_with_a_warning(hostile: tuple[Path, str, str]):
    history, best, bad = hostile
    for arguments in (
        ("show", best, "--prompt"),
        ("show", best, "--diff"),
        ("best", "last"),
        ("show", best, "--lineage", "--diff"),
    ):
        output = Terminal(history, *arguments).end()
        assert_harmless(output)
        assert f"'x{ESCAPED}'" in OWN_CODES.sub("", output), arguments
        if "--lineage" not in arguments:
            assert "warning: this code does not read as it runs: line" in output
            assert "RIGHT-TO-LEFT OVERRIDE" in output
    output = Terminal(history, "show", bad).end()
    assert f"ValueError: {ESCAPED}" in OWN_CODES.sub("", output)
    assert f"printed {ESCAPED}" in OWN_CODES.sub("", output)


@pytest.mark.parametrize("style", ["text", "csv"])
def test_query_results_are_escaped(hostile: tuple[Path, str, str], style: str):
    output = Terminal(hostile[0], "sql", "--format", style, QUERY).end()
    assert_harmless(output)
    assert "u202e" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", f"no{EVIL}.py"),
        ("sql", f"SELECT '{EVIL}' FROM nowhere"),
        (f"no{EVIL}",),
        ("runs",),
    ],
    ids=lambda arguments: arguments[0][:6],
)
def test_errors_and_lists_are_escaped(hostile: tuple[Path, str, str], arguments: tuple[str, ...]):
    assert_harmless(Terminal(hostile[0], *arguments).end())


def test_the_view_of_a_run_is_escaped(hostile: tuple[Path, str, str]):
    watching = Terminal(hostile[0], "watch", "last", "--terminal")
    output = watching.read_until(b"owned", 60)
    os.killpg(watching.process.pid, signal.SIGINT)
    assert_harmless(output + watching.end())
    assert r"\x1b]0;owned" in output


SPECIFICATION = """
# /// script
# [tool.overnight]
# title = "Evil TITLE"
# score_name = "score TITLE"
# inputs = [0]
# ///
import funsearch

@funsearch.run
def evaluate(n):
    print('TITLE')
    return f()

@funsearch.evolve
def f():
    return 1.0
"""


@pytest.mark.usefixtures("plain")
def test_text_of_an_untrusted_problem_is_escaped(tmp_path: Path):
    escaped = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")
    problem = tmp_path / "evil.py"
    problem.write_text(SPECIFICATION.replace("TITLE", escaped))
    assert_harmless(checked := Terminal(tmp_path / "history", "check", str(problem)).end())
    assert "two runs agree" in checked
    ran = Terminal(tmp_path / "history", "run", str(problem), "--generations", "1")
    assert_harmless(output := ran.end(120))
    # The title is folded to the width of the table.
    assert f"Evil{ESCAPED}:score{ESCAPED}" in "".join(OWN_CODES.sub("", output).split())


def test_a_traceback_is_escaped(tmp_path: Path):
    code = "from overnight.flows.cli.terminal import protect; import sys\n"
    code += "protect(); protect(); raise ValueError(sys.argv[1])"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code, EVIL], stdout=theirs, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    output = os.read(ours, 65536).decode()
    os.close(ours)
    assert f"ValueError: {ESCAPED}" in output
    assert_harmless(output)


def test_bytes_are_escaped_however_they_are_divided():
    code = (
        "from overnight.flows.cli.terminal import protect; import sys; protect(); data = sys.argv[1].encode()\n"
        "for part in range(len(data)): sys.stdout.buffer.write(data[part:part + 1])\n"
        "sys.stdout.buffer.writelines([data, b'\\x9b31m'])"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code, EVIL], stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    output = os.read(ours, 65536).decode()
    os.close(ours)
    assert output == ESCAPED * 2 + r"\x9b31m"


@pytest.mark.parametrize("arguments", [("show", "BEST", "--diff"), ("→",)], ids=" ".join)
def test_characters_that_the_terminal_lacks_are_escaped(hostile: tuple[Path, str, str], arguments: tuple[str, ...]):
    words = [word.replace("BEST", hostile[1]) for word in arguments]
    output = Terminal(hostile[0], *words, PYTHONIOENCODING="iso-8859-1").end()
    assert "Traceback" not in output
    assert_harmless(output)
    assert r"\u2192" in output if arguments == ("→",) else r"sc\u0430le" in "".join(output.split())


def test_data_in_a_pipe_is_unchanged(hostile: tuple[Path, str, str]):
    history, best, _ = hostile
    done = call(["sql", "--format", "csv", QUERY], history)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows[0]["model"] == f"test/{EVIL}"
    assert rows[0]["body"].endswith(BODY) or BODY in rows[0]["body"]
    code = call(["best", "last"], history)
    assert f"    sc\u0430le = 'x{EVIL}'\n" in code.stdout
    assert "warning: this code does not read as it runs" in code.stderr
    assert INVISIBLE.findall(code.stderr) == []
    assert f"x{EVIL}'" in call(["show", best], history).stdout
    assert f"+    sc\u0430le = 'x{EVIL}'\n" in call(["show", best, "--diff"], history).stdout


def test_tabs_emoji_names_and_brackets_in_a_pipe_are_unchanged(tmp_path: Path):
    files = create(tmp_path)
    body = "x = {'a': [1]}\nif x:\n\ty = ':smile:[bold]'\nreturn 1.0"
    best = a_judged(files.run_id, 1, 0, scores=(9.0, 9.0), body=body)
    record.commit(files, a_generation(1, [best], best.program(), (), NOW))
    output = call(["best", "last"], tmp_path).stdout
    assert "y = ':smile:[bold]'\n" in output
    assert "\ty" in output


def test_what_is_long_is_shown_in_pages_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    console = Console(force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(printing, "out", lambda: console)
    monkeypatch.setattr(terminal, "is_terminal", lambda _: True)
    monkeypatch.setenv("PAGER", f"tee {tmp_path / 'page'}")
    with printing.in_pages():
        printing.write_text(f"a line {EVIL}")
        assert capfd.readouterr().out == "", "nothing is shown before all of it"
    assert (tmp_path / "page").read_text() == f"a line {ESCAPED}\n" == capfd.readouterr().out
    monkeypatch.setenv("PAGER", "no-such-pager")
    with printing.in_pages():
        printing.write_text("a line")
    assert capfd.readouterr().out == "a line\n"
