"""What strangers wrote is shown on a terminal and never obeyed; in files and pipes it stays as it is."""

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

from schemas.escaping import INVISIBLE
from schemas.outcome import Outcome
from tasks.history import record
from tests.flows.cli.conftest import call
from tests.history.made import NOW, a_generation, a_judged, create, grow

EVIL = "\x1b]0;owned\x07\x9b31m\u202eabc\u200b\U000e0041\xad\u2066"
"""Sets a terminal's title, colours it, reverses text, and hides some."""

SEEN = r"\x1b]0;owned\x07\x9b31m\u202eabc\u200b\U000e0041\xad\u2066"

BODY = f"sc\u0430le = 'x{EVIL}'\nreturn 1.0"


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A history with hostile text wherever there is any; the ids of its best program, and of one that failed."""
    history = tmp_path_factory.mktemp("history")
    files = create(history)
    grow(files, 2)
    past = record.read_run_history(files)
    mother = max(past.programs.values(), key=lambda program: program.score)
    best = a_judged(
        files.run_id, 3, 0, scores=(9.0, 9.0), parents=[mother.id], body=BODY, model=f"test/{EVIL}", text=f"said {EVIL}"
    )
    bad = a_judged(files.run_id, 3, 1, outcome=Outcome.CRASHED, body=BODY, model="test/cheap")
    bad = replace(bad, verdict=replace(bad.verdict, error=f"ValueError: {EVIL}", output=f"printed {EVIL}"))
    record.commit(files, a_generation(3, [best, bad], best.program(), (), NOW))
    return history, best.id, bad.id


class Terminal:
    """A command on a terminal of its own, of 200 columns."""

    def __init__(self, history: Path, *arguments: str, **more: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        environment = {**os.environ, "OVERNIGHT_HISTORY": str(history), "TERM": "xterm-256color"}
        environment |= {"COLUMNS": "200", "LINES": "50", **more}  # a runner of tests has its own
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", *arguments],
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.said = b""

    def read_until(self, part: bytes = b"", timeout_s: float = 60) -> str:
        """What it says until a part of it was said, or until its end."""
        until = time.monotonic() + timeout_s
        while not (part and part in self.said) and time.monotonic() < until:
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self._ours, 65536)
                except OSError:
                    break
        return self.said.decode()

    def end(self, timeout_s: float = 60) -> str:
        said = self.read_until(timeout_s=timeout_s)
        self.process.wait(30)
        os.close(self._ours)
        return said


OWN = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
"""What the program itself sends: colours, the cursor's moves, and the terminal's own ends of lines."""


def assert_harmless(said: str) -> None:
    assert "\x1b]" not in said
    assert INVISIBLE.findall(OWN.sub("", said)) == []
    assert "\x9b" not in said


ON_THE_BEST = ("show", "explain", "lineage", "diff")
QUERIES = ("table", "csv", "json", "jsonl", "markdown")
QUERY = "SELECT model, completion, error, output, body FROM programs WHERE generation = 3"


@pytest.mark.parametrize("command", ON_THE_BEST)
def test_programs_are_shown_and_not_obeyed(strangers: tuple[Path, str, str], command: str):
    history, best, bad = strangers
    for program in (best, bad) if command in ("show", "explain") else (best,):
        assert_harmless(Terminal(history, command, program).end())


def test_code_is_shown_with_what_is_in_it_and_a_warning(strangers: tuple[Path, str, str]):
    history, best, bad = strangers
    for arguments in (("show", best, "--prompt"), ("diff", best), ("best", "last"), ("lineage", best, "--diffs")):
        said = Terminal(history, *arguments).end()
        assert_harmless(said)
        assert f"'x{SEEN}'" in OWN.sub("", said), arguments
        if arguments[0] != "lineage":
            assert "warning: this code does not read as it runs: line" in said
            assert "RIGHT-TO-LEFT OVERRIDE" in said
    said = Terminal(history, "show", bad).end()
    assert f"ValueError: {SEEN}" in OWN.sub("", said)
    assert f"printed {SEEN}" in OWN.sub("", said)


@pytest.mark.parametrize("style", QUERIES)
def test_answers_are_shown_and_not_obeyed(strangers: tuple[Path, str, str], style: str):
    said = Terminal(strangers[0], "sql", "--format", style, QUERY).end()
    assert_harmless(said)
    assert "u202e" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", f"no{EVIL}.py"), ("sql", f"SELECT '{EVIL}' FROM nowhere"), ("show", f"no{EVIL}"), (f"no{EVIL}",),
        ("run", "bin-packing-or", f"--no{EVIL}"), ("runs",), ("problems",), ("sql", f"SELECT 1 AS \"{EVIL}\""),
    ],
    ids=lambda arguments: arguments[0][:6],
)  # fmt: skip
def test_errors_and_lists_are_shown_and_not_obeyed(strangers: tuple[Path, str, str], arguments: tuple[str, ...]):
    assert_harmless(Terminal(strangers[0], *arguments).end())


def test_the_view_of_a_run_is_shown_and_not_obeyed(strangers: tuple[Path, str, str]):
    watching = Terminal(strangers[0], "watch", "last", "--terminal")
    said = watching.read_until(b"owned", 60)
    os.killpg(watching.process.pid, signal.SIGINT)
    assert_harmless(said + watching.end())
    assert r"\x1b]0;owned" in said


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


@pytest.mark.docker
@pytest.mark.prefect
def test_a_stranger_s_problem_is_shown_and_not_obeyed(tmp_path: Path, prefect_api: str, sandbox_image: str):
    escaped = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")
    problem = tmp_path / "evil.py"
    problem.write_text(SPECIFICATION.replace("TITLE", escaped))
    image = f"sandbox.image={sandbox_image}"
    assert_harmless(checked := Terminal(tmp_path / "history", "check", str(problem), "--set", image).end())
    assert "two runs agree" in checked
    ran = Terminal(
        tmp_path / "history", "run", str(problem), "--generations", "1", "--set", image, PREFECT_API_URL=prefect_api
    )
    assert_harmless(said := ran.end(120))
    # The title is folded to the width of the table.
    assert f"Evil{SEEN}:score{SEEN}" in "".join(OWN.sub("", said).split())


def test_a_traceback_is_shown_and_not_obeyed(tmp_path: Path):
    code = "from flows.cli.terminal import protect; import sys; protect(); protect(); raise ValueError(sys.argv[1])"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code, EVIL], stdout=theirs, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert f"ValueError: {SEEN}" in said
    assert_harmless(said)


def test_bytes_are_shown_and_not_obeyed_however_they_are_cut():
    code = (
        "from flows.cli.terminal import protect; import sys; protect(); data = sys.argv[1].encode()\n"
        "for part in range(len(data)): sys.stdout.buffer.write(data[part:part + 1])\n"
        "sys.stdout.buffer.writelines([data, b'\\x9b31m'])"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code, EVIL], stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert said == SEEN * 2 + r"\x9b31m"


@pytest.mark.parametrize(
    "arguments",
    [("show", "BEST"), ("best", "last"), ("diff", "BEST"), ("sql", QUERY), ("sql", "--format", "csv", QUERY), ("→",)],
    ids=" ".join,
)
def test_a_terminal_without_a_stranger_s_letters_shows_them_escaped(
    strangers: tuple[Path, str, str], arguments: tuple[str, ...]
):
    words = [word.replace("BEST", strangers[1]) for word in arguments]
    said = Terminal(strangers[0], *words, PYTHONIOENCODING="iso-8859-1").end()
    assert "Traceback" not in said
    assert_harmless(said)
    assert r"\u2192" in said if arguments == ("→",) else r"sc\u0430le" in "".join(said.split())


def test_in_a_pipe_data_stays_as_it_is(strangers: tuple[Path, str, str]):
    history, best, _ = strangers
    answer = call(["sql", "--format", "csv", QUERY], history)
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert rows[0]["model"] == f"test/{EVIL}"
    assert rows[0]["body"].endswith(BODY) or BODY in rows[0]["body"]
    code = call(["best", "last"], history)
    assert f"    sc\u0430le = 'x{EVIL}'\n" in code.stdout
    assert "warning: this code does not read as it runs" in code.stderr
    assert INVISIBLE.findall(code.stderr) == []
    assert f"x{EVIL}'" in call(["show", best], history).stdout
    assert f"+    sc\u0430le = 'x{EVIL}'\n" in call(["diff", best], history).stdout


def test_a_pipe_keeps_tabs_and_names_of_emojis_and_brackets(tmp_path: Path):
    files = create(tmp_path)
    body = "x = {'a': [1]}\nif x:\n\ty = ':smile:[bold]'\nreturn 1.0"
    best = a_judged(files.run_id, 1, 0, scores=(9.0, 9.0), body=body)
    record.commit(files, a_generation(1, [best], best.program(), (), NOW))
    said = call(["best", "last"], tmp_path).stdout
    assert "y = ':smile:[bold]'\n" in said
    assert "\ty" in said
