"""Data centre: tasks come one after another, and each is put on a server until it ends; few hours of servers are best.

Improve `preference`. It is called for each server that has room for a task, running or empty, and the task is put on
the server with the highest number. A task is never moved. An empty server costs nothing, and one with a task costs by
the hour. The score is minus the hours of running servers over what the tasks need at least, in %.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Servers"
# score_name = "minus the excess of server hours, %"
# inputs = [[500, 1], [500, 2], [500, 3], [500, 4], [500, 5], [500, 6]]
# show_inputs = false
# validation = [[500, 101], [500, 102], [500, 103], [500, 104], [500, 105], [500, 106], [500, 107], [500, 108],
#               [500, 109], [500, 110], [500, 111], [500, 112]]
# held_out = [[500, 201], [500, 202], [500, 203], [500, 204], [500, 205], [500, 206], [500, 207], [500, 208],
#             [500, 209], [500, 210], [500, 211], [500, 212], [500, 213], [500, 214], [500, 215], [500, 216],
#             [500, 217], [500, 218], [500, 219], [500, 220], [500, 221], [500, 222], [500, 223], [500, 224]]
# reducer = "mean"
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 512
# ///

import math
import random

import funsearch


def draw_tasks(count: int, seed: int) -> list[tuple[float, float, float, float]]:
    """Return tasks as they come: when, hours that each takes, its share of a server's processors and of its memory."""
    drawn = random.Random(seed)
    now, tasks = 0.0, []
    for _ in range(count):
        now += drawn.expovariate(4.0 + 3.0 * math.sin(now / 4.0))
        hours = drawn.choice((0.5, 1.0, 2.0, 6.0, 12.0)) * drawn.uniform(0.7, 1.3)
        kind = drawn.random()
        processors = drawn.uniform(0.05, 0.25) if kind < 0.6 else drawn.uniform(0.2, 0.6)
        memory = drawn.uniform(0.2, 0.6) if 0.3 < kind < 0.6 else drawn.uniform(0.05, 0.3)
        tasks.append((now, hours, processors, memory))
    return tasks


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return minus the hours of running servers over what the tasks need at least, in %."""
    servers: list[list[tuple[float, float, float]]] = []
    tasks, cost = draw_tasks(count, seed), 0.0
    needed = max(
        sum(hours * processors for _, hours, processors, _ in tasks),
        sum(hours * memory for _, hours, _, memory in tasks),
    )
    for now, hours, processors, memory in tasks:
        end = now + hours
        servers = [[task for task in server if task[0] > now] for server in servers]
        servers = [server for server in servers if server] + [[]]
        wishes = []
        for number, server in enumerate(servers):
            free_processors = 1.0 - sum(task[1] for task in server)
            free_memory = 1.0 - sum(task[2] for task in server)
            if processors <= free_processors + 1e-9 and memory <= free_memory + 1e-9:
                left = max((task[0] for task in server), default=now) - now
                wish = float(
                    preference(
                        processors, memory, hours, free_processors, free_memory, left, len(server), len(servers) - 1
                    )
                )
                if not math.isfinite(wish):
                    raise ValueError(f"preference returned {wish}: it must be finite")
                wishes.append((wish, -number))
        chosen = servers[-max(wishes)[1]]
        cost += max(0.0, end - max((task[0] for task in chosen), default=now))
        chosen.append((end, processors, memory))
    return -100.0 * (cost - needed) / needed


@funsearch.inputs
def drawn(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [500, 1_000_000 + seed]


@funsearch.evolve
def preference(
    processors: float,
    memory: float,
    hours: float,
    free_processors: float,
    free_memory: float,
    left: float,
    tasks: int,
    running: int,
) -> float:
    """Return how good a server is for a task.

    Args:
        processors: Share of a server's processors that the task needs.
        memory: Share of a server's memory that it needs.
        hours: Hours that it takes.
        free_processors: Share of this server's processors that is free.
        free_memory: Share of its memory that is free.
        left: Hours until this server's last task ends; 0 if it is empty.
        tasks: Number of its tasks; 0 if it is empty.
        running: Number of servers with a task.
    """
    return float(tasks > 0)
