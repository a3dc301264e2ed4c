"""Commands that answer prompts in place of a model, `[commands.NAME]` in the user's configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, RootModel

from overnight.schemas.section import CommandSection, as_list

Fields = Annotated[tuple[str, ...], BeforeValidator(as_list)]

PRESETS: dict[str, dict[str, Any]] = {
    # https://code.claude.com/docs/en/headless
    "claude": {
        "command": ["claude", "-p", "--output-format", "json"],
        "output": "json",
        "text": "result",
        "error": "is_error",
        "tokens_in": ["usage.input_tokens", "usage.cache_creation_input_tokens", "usage.cache_read_input_tokens"],
        "tokens_out": "usage.output_tokens",
        "cost_usd": "total_cost_usd",
    },
    # https://developers.openai.com/codex/noninteractive: messages go to stderr, the last one of the agent to stdout
    "codex": {"command": ["codex", "exec", "--skip-git-repo-check", "--ephemeral", "-"]},
    # https://geminicli.com/docs/cli/headless
    "gemini": {
        "command": ["gemini", "--output-format", "json"],
        "output": "json",
        "text": "response",
        "error": "error",
        "final_codes": [42, 126, 127],
    },
    # https://llm.datasette.io/en/stable/usage.html
    "llm": {"command": ["llm"]},
    # https://docs.ollama.com/cli
    "ollama": {"command": ["ollama", "run"]},
}
"""Published headless forms of known commands; `arguments` follow them, such as the name of a model."""


class CommandSettings(CommandSection):
    """A command that answers prompts: one process for each sample, on this machine, with the user's rights."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    example: ClassVar[str] = 'a command needs its words, such as command = ["my-agent", "--print"], or a preset'

    preset: Literal["", "claude", "codex", "gemini", "llm", "ollama"] = ""
    """known command whose settings are the defaults of the others"""
    command: tuple[str, ...] = ()
    """program and arguments; the prompt is on its standard input, or in the file that replaces `{prompt_file}` in an
    argument"""
    arguments: tuple[str, ...] = ()
    """further arguments, such as the name of a model"""
    output: Literal["text", "json"] = "text"
    """whether the standard output is the answer, or JSON that holds it"""
    text: str = "text"
    """field of the JSON with the answer, such as `message.content`"""
    error: str = ""
    """field that is neither empty nor false if the command failed"""
    tokens_in: Fields = ()
    """fields whose sum is the number of prompt tokens"""
    tokens_out: Fields = ()
    """fields whose sum is the number of completion tokens"""
    cost_usd: str = ""
    """field with the cost in USD; without it, the cost is unknown"""
    seconds: float = Field(default=600.0, gt=0)
    """seconds after which the command is ended"""
    at_once: int = Field(default=4, ge=1)
    """most processes at a time"""
    final_codes: tuple[int, ...] = (2, 126, 127)
    """exit codes after which a prompt is not tried again"""


class Commands(RootModel[dict[str, CommandSettings]]):
    """The commands of a user by their names."""
