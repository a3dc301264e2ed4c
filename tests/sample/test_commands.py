"""A command is a model: what it is given, what its output means, and how it fails."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.command_settings import PRESETS
from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import ProviderError, TerminalProviderError, UsageError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.program.user_config import user_command
from overnight.tasks.sample import endpoint
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.provider import provider_of, require_keys, require_prices

CLAUDE = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "result": "return 1",
    "total_cost_usd": 0.0125,
    "usage": {"input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 9},
}
GEMINI = {"response": "return 1", "stats": {"models": {}}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)


class Commands:
    """Commands of a user, each a small Python program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"

    def define(self, source: str, **settings: Any) -> None:
        """Define the command `mine` as a program."""
        program = self.folder / "mine.py"
        program.write_text(f"import json, os, sys, time\n{source}\n")
        given = {"command": [sys.executable, str(program)], **settings}
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        self.config.write_text("\n".join(["[commands.mine]", *lines, ""]))

    def ask(self, samples: int = 1, **settings: Any) -> list[Completion]:
        """Ask the command for samples of one prompt."""
        sampling = Sampling.model_validate({"models": ["command:mine"], "attempts": 2, **settings})
        prompt = Prompt(0, "0", (), "command:mine", "chat", "improve this", tuple(range(samples)), system="be brief")
        recorded: list[Completion] = []
        asked = Gateway(sampling).sample([Sample(prompt, number) for number in range(samples)], recorded.extend)
        assert sorted(recorded, key=lambda one: one.sample) == asked, "each was recorded, once"
        return asked


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(tmp_path)
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(made.config))
    return made


def test_the_prompt_is_on_its_input_and_the_answer_on_its_output(commands: Commands):
    commands.define("print(f'got {sys.stdin.read()!r} in {os.listdir()}')")
    (answer,) = commands.ask()
    assert answer.text == "got 'be brief\\n\\nimprove this' in []", "in an empty folder"
    assert answer.cost_usd is None, "unknown, not 0"


def test_the_prompt_may_be_a_file(commands: Commands):
    commands.define("print(open(sys.argv[1]).read())")
    settings = commands.config.read_text().replace('mine.py"]', 'mine.py", "{prompt_file}"]')
    commands.config.write_text(settings)
    assert commands.ask()[0].text == "be brief\n\nimprove this"


def test_json_has_the_answer_the_tokens_and_the_cost(commands: Commands):
    commands.define(f"print(json.dumps({CLAUDE!r}))", **{k: v for k, v in PRESETS["claude"].items() if k != "command"})
    (answer,) = commands.ask()
    assert (answer.text, answer.tokens_in, answer.tokens_out, answer.cost_usd) == ("return 1", 30, 9, 0.0125)


def test_each_sample_is_a_process_and_so_many_run_at_once(commands: Commands):
    commands.define(
        "path = os.path.join(os.path.dirname(__file__), 'log')\n"
        "open(path, 'a').write('+')\ntime.sleep(0.2)\nopen(path, 'a').write('-')\nprint(os.getpid())",
        at_once=2,
    )
    answers = commands.ask(5)
    assert len({answer.text for answer in answers}) == 5
    running = most = 0
    for mark in (commands.folder / "log").read_text():
        running += 1 if mark == "+" else -1
        most = max(most, running)
    assert most == 2


@pytest.mark.parametrize(
    ("program", "settings", "message"),
    [
        ("sys.exit(1)", {}, "failed with exit code 1: it printed no message"),
        ("sys.exit('no credit left')", {}, "failed with exit code 1: no credit left"),
        ("print('oops', file=sys.stderr); sys.exit(42)", {"final_codes": [42]}, "failed with exit code 42: oops"),
        ("os.kill(os.getpid(), 9)", {}, "was ended by signal 9"),
        ("time.sleep(60)", {"seconds": 0.5}, "no answer in 0.5 s"),
        ("sys.exit('error: unknown option --fast')", {}, "unknown option --fast"),
        (
            "print(json.dumps({'text': 'Credit balance is too low', 'is_error': True}))",
            {"output": "json", "error": "is_error"},
            "reported an error: Credit balance is too low",
        ),
    ],
)
def test_a_command_that_fails_says_how(commands: Commands, program: str, settings: dict[str, Any], message: str):
    commands.define(program, **settings)
    with pytest.raises(ProviderError) as error:
        commands.ask()
    assert message in error.value.message


@pytest.mark.parametrize(
    ("program", "settings", "message"),
    [
        ("print('garbage')", {"output": "json"}, "printed no JSON, but 'garbage"),
        ("print('[' * 10**6)", {"output": "json"}, "printed no JSON, but '[[["),
        ("print('[' * 500 + ']' * 500)", {"output": "json"}, "expected text in the field `text`, got None"),
        ("print('{\"text\": ' + '9' * 5000 + '}')", {"output": "json"}, "printed no JSON"),
        ("print('{\"text\": NaN}')", {"output": "json"}, "expected text in the field `text`, got nan"),
        ("print(json.dumps({'text': 5}))", {"output": "json"}, "expected text in the field `text`, got 5"),
        ("while True: print('x' * 10000)", {}, "printed more than 4 MiB"),
        ("sys.exit('Requested tokens (732) exceed context window of 512')", {}, "exceed context window of 512"),
        (
            "print(json.dumps({'text': 'Prompt is too long', 'is_error': True}))",
            {"output": "json", "error": "is_error"},
            "reported an error: Prompt is too long",
        ),
    ],
)
def test_what_each_try_would_say_is_the_outcome_of_its_sample(
    commands: Commands, program: str, settings: dict[str, Any], message: str
):
    commands.define(f"open({str(commands.folder / 'tries')!r}, 'a').write('x')\n{program}", **settings)
    (answer,) = commands.ask()
    assert message in answer.error
    assert answer.text == ""
    assert (commands.folder / "tries").read_text() == "x"


@pytest.mark.parametrize(("cost", "counts"), [("1" + "0" * 400, None), ("-1", None), ("NaN", None), ("0.5", 0.5)])
def test_a_cost_that_cannot_be_is_unknown(commands: Commands, cost: str, counts: float | None):
    printed = f'{{"text": "return 1", "in": 3, "out": 4, "cost": {cost}}}'
    fields = {"output": "json", "cost_usd": "cost", "tokens_in": "in", "tokens_out": "out"}
    commands.define(f"print({printed!r})", **fields)
    (answer,) = commands.ask()
    assert (answer.text, answer.cost_usd) == ("return 1", counts)


def test_bytes_that_are_no_text_are_replaced(commands: Commands):
    commands.define("sys.stdout.buffer.write(b'a\\xff\\xed\\xa0\\x80b')")
    assert commands.ask()[0].text == "a\ufffd\ufffd\ufffd\ufffdb"


def test_a_command_whose_every_prompt_is_too_long_ends_the_night_with_a_remedy(commands: Commands):
    commands.define("sys.exit('Requested tokens (732) exceed context window of 512')", at_once=8)
    with pytest.raises(
        TerminalProviderError, match=r"2\d requests in a row were refused, .*context window of 512"
    ) as error:
        commands.ask(24)
    assert "a longer context" in error.value.remedy


def test_a_command_that_does_not_exist_says_so(commands: Commands):
    commands.config.write_text('[commands.mine]\ncommand = ["no-such-program"]\n')
    with pytest.raises(ProviderError, match="'no-such-program' cannot be run: No such file or directory"):
        commands.ask()


def test_exit_codes_decide_whether_it_is_tried_again(commands: Commands):
    count = "path = os.path.join(os.path.dirname(__file__), 'tries')\nopen(path, 'a').write('x')\n"
    commands.define(f"{count}sys.exit(0 if os.path.getsize(path) > 1 else 75)")
    assert commands.ask()[0].text == "", "a success without text is an answer, which is not bought again"
    assert (commands.folder / "tries").read_text() == "xx"
    (commands.folder / "tries").unlink()
    commands.define(f"{count}sys.exit(2)")
    with pytest.raises(ProviderError):
        commands.ask()
    assert (commands.folder / "tries").read_text() == "x", "2 is final by default"


DAEMON = """
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    open(PID, 'w').write(str(os.getpid()))
    time.sleep(600)
    os._exit(0)
while not os.path.exists(PID) or not open(PID).read():
    time.sleep(0.01)
"""
"""A child that has left its session and its parent, and keeps the output open."""


def is_running(pid: str) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, what leaves its group is not found")
@pytest.mark.parametrize(
    ("rest", "settings"), [("print('done')", {}), ("time.sleep(600)", {"seconds": 5, "at_once": 1})]
)
def test_all_that_a_command_started_is_ended_with_it_also_what_left_its_session(
    commands: Commands, rest: str, settings: dict[str, Any]
):
    pid = commands.folder / "pid"
    commands.define(DAEMON.replace("PID", repr(str(pid))) + rest, **settings)
    begin = time.monotonic()
    if settings:
        with pytest.raises(ProviderError, match="no answer in 5 s"):
            commands.ask(attempts=1)
    else:
        assert commands.ask()[0].text == "done"
    assert time.monotonic() - begin < 60, "whoever keeps the output open is not waited for"
    assert not is_running(pid.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, what leaves its group is not found")
def test_a_command_is_ended_when_nobody_wants_its_answer_any_more(commands: Commands):
    pid = commands.folder / "pid"
    commands.define(DAEMON.replace("PID", repr(str(pid))) + "time.sleep(600)")
    sampling = Sampling.model_validate({"models": ["command:mine"]})
    prompt = Prompt(0, "0", (), "command:mine", "chat", "improve this", (0,))
    asked = Gateway(sampling).submit([Sample(prompt, 0)], lambda _: None)
    while not pid.exists() or not pid.read_text():
        time.sleep(0.01)
    asked.cancel()
    while is_running(pid.read_text()):
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, whether a process runs is not seen")
def test_a_command_is_ended_when_what_watches_it_is_killed(commands: Commands):
    pid = commands.folder / "pid"
    commands.define(
        f"""
import signal, subprocess
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open({str(pid)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(600)
"""
    )
    with pytest.raises(ProviderError, match="was ended together with the process that watches it"):
        commands.ask(attempts=1)
    while any(map(is_running, pid.read_text().split())):
        time.sleep(0.01)


def test_a_command_has_a_definition_or_is_a_preset(commands: Commands):
    commands.config.write_text("")
    assert {name: user_command(name).command[0] for name in PRESETS} == {name: name for name in PRESETS}
    with pytest.raises(UsageError, match="there is no command 'mine'; expected one of claude, codex"):
        require_keys(Sampling.model_validate({"models": ["command:mine"]}))
    commands.config.write_text('[commands.mine]\npreset = "llm"\narguments = ["-m", "small"]\n')
    assert (user_command("mine").command, user_command("mine").arguments) == (("llm",), ("-m", "small"))
    for wrong in ("[commands.mine]\n", '[commands.mine]\npreset = "other"\n', "[commands.mine]\nword = 1\n"):
        commands.config.write_text(wrong)
        with pytest.raises(UsageError, match=r"config.toml: commands.mine"):
            user_command("mine")


def test_a_budget_in_usd_needs_a_price_which_the_user_can_give(commands: Commands):
    commands.define("print(1)")
    with pytest.raises(UsageError, match="needs the price of command:mine"):
        require_prices(Sampling.model_validate({"models": ["command:mine"]}))
    model = {"name": "command:mine", "input_usd": 0, "output_usd": 0}
    require_prices(Sampling.model_validate({"models": [model]}))


def test_names_with_a_slash_are_of_the_command_provider(commands: Commands):
    assert type(provider_of("command:a/b")).__name__ == "CommandProvider"
    assert type(provider_of("relay:/tmp/x")).__name__ == "RelayProvider"
    with pytest.raises(UsageError):
        provider_of("command:a/b").require(Model(name="command:a/b"))
