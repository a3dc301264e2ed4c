"""Shared code of the bridges; runs in the sandbox, beside the bridge of a tool."""

import json
import os
import random
import shutil
import sys
import traceback

METRICS_FILE = os.path.abspath("overnight_metrics.json")


def prepare(program, evaluator):
    """Prepare the environment that the evaluator expects: its folder on the path, seeds, and a `python` command."""
    sys.excepthook = print_error
    sys.path.insert(0, os.getcwd())
    seed(program, evaluator)
    if shutil.which("python") is None:
        folder = os.path.abspath("overnight_bin")
        os.makedirs(folder, exist_ok=True)
        os.symlink(sys.executable, os.path.join(folder, "python"))
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), folder))


def print_error(kind, error, trace):
    """Print an error as Python does, without the frames in which the bridge calls the evaluator."""
    while trace.tb_next and is_bridge_frame(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


def is_bridge_frame(file):
    return file.startswith("<frozen ") or os.path.basename(file).startswith("overnight_")


def seed(*paths):
    """Seed the random generators, so that unseeded draws repeat."""
    number = int(os.environ.get("OVERNIGHT_SEED", "0"))
    random.seed(number)
    # Importing numpy takes a tenth of a second, so it is imported only if the evaluator or the program uses it.
    if any(b"numpy" in open(path, "rb").read() for path in paths):
        import numpy

        numpy.random.seed(number % 2**32)


def report(metrics):
    """Write the metrics to the file that Overnight reads."""
    with open(METRICS_FILE, "w") as file:
        json.dump(metrics, file)
