"""A provider on loopback in a process of its own: `python -m tests.bench.loopback LATENCY_S`. Ends at end of input."""

from __future__ import annotations

import random
import re
import sys

from tests.provider import Answer, Provider, Request


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


def main() -> None:
    with Provider(constants) as provider:
        provider.latency_s = float(sys.argv[1])
        sys.stdout.write(provider.api_base + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
