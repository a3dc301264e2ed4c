"""Many requests at a time from one head: a provider on loopback that answers after some seconds.

    python -m tests.bench.bench_sampling [--concurrency 512] [--latency 10] [--rounds 3]

Prints the requests a second beside the ideal, which is the concurrency over the latency, the connections that the
provider accepted, and the head's processor time for each request.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

from overnight.flows.environment import prepare

prepare()

from overnight.schemas.completion_source import Sample  # noqa: E402
from overnight.schemas.program import Prompt  # noqa: E402
from overnight.schemas.sampling_settings import Model, Sampling  # noqa: E402
from overnight.tasks.sample.gateway import Gateway  # noqa: E402

_SERVER = """
import asyncio, json, sys
latency_s, connections, most, now = float(sys.argv[1]), 0, 0, 0
BODY = {"id": "1", "object": "chat.completion", "created": 1, "model": "test", "usage": {"prompt_tokens": 1,
    "completion_tokens": 1, "total_tokens": 2}, "choices": [{"index": 0, "finish_reason": "stop", "message": {
    "role": "assistant", "content": "x" * 2000}}]}
ANSWER = json.dumps(BODY).encode()
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(ANSWER)
async def serve(reader, writer):
    global connections, most, now
    connections += 1
    while True:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        now += 1
        most = max(most, now)
        await asyncio.sleep(latency_s)
        now -= 1
        writer.write(HEAD + ANSWER)
        await writer.drain()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(connections, most, flush=True)
    import os
    os._exit(0)
asyncio.run(main())
"""


def measure(concurrency: int, latency_s: float, rounds: int) -> None:
    """Send so many rounds of requests, as many at a time as the concurrency."""
    provider = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(latency_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert provider.stdout is not None
    port = int(provider.stdout.readline())
    model = Model(name="openai/test", api_base=f"http://127.0.0.1:{port}/v1")
    gateway = Gateway(Sampling(models=(model,), concurrency=concurrency))
    count = concurrency * rounds
    samples = [Sample(_prompt(index), 0) for index in range(count)]
    gateway.sample(samples[:1], lambda _: None)  # imports
    began, processor_s = time.monotonic(), _processor_s()
    found = gateway.sample(samples, lambda _: None)
    seconds, processor_s = time.monotonic() - began, _processor_s() - processor_s
    assert len(found) == count, f"{len(found)} answers to {count} requests"
    out, _ = provider.communicate()
    connections, most = out.split()
    print(
        f"{concurrency} at a time, {latency_s:g} s: {count / seconds:.1f} requests/s of {concurrency / latency_s:.1f} "
        f"({count / seconds * latency_s / concurrency:.2f}); at most {most} at a time over {connections} connections; "
        f"{1000 * processor_s / count:.1f} ms each",
        flush=True,
    )


def _prompt(index: int) -> Prompt:
    return Prompt(index, "0", ("start",), "openai/test", "chat", "x" * 6000, (index,))


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_sampling")
    parser.add_argument("--concurrency", type=int, nargs="*", default=[16, 128, 512], help="requests at a time")
    parser.add_argument("--latency", type=float, default=10.0, help="seconds before each answer")
    parser.add_argument("--rounds", type=int, default=3, help="requests, in multiples of the concurrency")
    options = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "test")
    for concurrency in options.concurrency:
        measure(concurrency, options.latency, options.rounds)


if __name__ == "__main__":
    main()
