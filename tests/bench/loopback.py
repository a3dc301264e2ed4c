"""A provider on loopback in a process of its own, until the end of its input.

    python -m tests.bench.loopback LATENCY_S MODEL

MODEL is `constants`, which changes numbers at random and seldom improves anything, or `improving`, each answer of which
is better than all before it on `tests/specifications/improving.py`.
"""

from __future__ import annotations

import random
import re
import sys

from tests.provider import Answer, Provider, Request, response_body


def constants(number: int, request: Request) -> Answer:
    """The last version of the prompt with its constants changed, as a chat model would send it."""
    prompt = request["messages"][-1]["content"]
    code = prompt[prompt.rindex("    return") :].split("\n")[0] if "    return" in prompt else "    return 0.0"
    choices = []
    for k in range(request.get("n", 1)):
        body = re.sub(r"\d+\.\d+", f"{random.Random(f'{number}/{k}').uniform(0.1, 3):.6f}", code)
        version = re.findall(r"def (\w+_v\d+)\((.*?)\)", prompt)[-1]
        text = f"```python\ndef {version[0]}({version[1]}):\n{body}\n```"
        choices.append({"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"})
    usage = {"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360}
    return Answer(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    )


def improving(number: int, request: Request) -> Answer:
    """A higher number in each answer."""
    samples = request.get("n", 1)
    texts = [f"```python\ndef number() -> float:\n    return {number * samples + k + 1}.0\n```" for k in range(samples)]
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    return Answer(response_body(request, choices, "chat.completion"))


MODELS = {"constants": constants, "improving": improving}


def main() -> None:
    with Provider(MODELS[sys.argv[2]]) as provider:
        provider.latency_s = float(sys.argv[1])
        sys.stdout.write(provider.api_base + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
