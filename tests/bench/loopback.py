"""A provider on loopback in a process of its own, until the end of its input; then it writes when it was first asked.

    python -m tests.bench.loopback LATENCY_S MODEL [whole]

MODEL is `constants`, which changes numbers at random and seldom improves anything, or `improving`, each answer of which
is better than all before it on `tests/specifications/improving.py`. Answers are functions as Overnight asks for them,
or, with `whole`, programs as OpenEvolve does.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable

from overnight.testing.fake_provider import Answer, Provider, Request, response_body

Line = Callable[[int, str], str]
"""Returns the last line of an answer's function, from the number of the answer and the prompt."""

_PROGRAM = re.compile(r"# Current Program\n```python\n(.*?)```", re.DOTALL)
_LAST_RETURN = re.compile(r"    return [^\n]*\n(?!.*    return )", re.DOTALL)


def constants(number: int, prompt: str) -> str:
    """The last line of the prompt's last version with its constants changed."""
    line = prompt[prompt.rindex("    return") :].split("\n")[0] if "    return" in prompt else "    return 0.0"
    return re.sub(r"\d+\.\d+", f"{random.Random(number).uniform(0.1, 3):.6f}", line)


def improving(number: int, _: str) -> str:
    """A higher number in each answer."""
    return f"    return {number + 1}.0"


MODELS: dict[str, Line] = {"constants": constants, "improving": improving}


def functions(line: Line, number: int, request: Request) -> Answer:
    """Answer with functions, as a chat model would send them."""
    prompt, samples = request["messages"][-1]["content"], request.get("n", 1)
    name, arguments = re.findall(r"def (\w+?_v\d+)\((.*?)\)", prompt)[-1]
    texts = [f"```python\ndef {name}({arguments}):\n{line(number * samples + k, prompt)}\n```" for k in range(samples)]
    return _answer(request, texts)


def programs(line: Line, number: int, request: Request) -> Answer:
    """Answer with the whole program of the prompt and another last line of its last function."""
    program = _PROGRAM.findall(request["messages"][-1]["content"])[-1]
    changed = _LAST_RETURN.sub(lambda _: line(number, program) + "\n", program)
    return _answer(request, [f"```python\n{changed}```"])


def _answer(request: Request, texts: list[str]) -> Answer:
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    return Answer(response_body(request, choices, "chat.completion"))


def main() -> None:
    line, answer = MODELS[sys.argv[2]], programs if "whole" in sys.argv else functions
    with Provider(lambda number, request: answer(line, number, request)) as provider:
        provider.latency_s = float(sys.argv[1])
        sys.stdout.write(provider.api_base + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        first = provider.request_times[0] if provider.request_times else time.monotonic()
        sys.stdout.write(f"{time.time() - time.monotonic() + first}\n")


if __name__ == "__main__":
    main()
