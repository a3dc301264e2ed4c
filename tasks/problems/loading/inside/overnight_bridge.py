"""Shared code of the bridges; runs in the sandbox, beside the bridge of a tool."""

import json
import os
import random
import shutil
import sys
import traceback

METRICS_FILE = os.path.abspath("overnight_metrics.json")

READERS = {"importlib._bootstrap_external", "_frozen_importlib_external", "runpy", "shutil", "traceback", "warnings"}
"""Modules that read a file to import it, to copy it, or to show a line of it."""

readers = set()
"""Modules that have read the text of a program which is a stand-in."""


def prepare(program, evaluator):
    """Prepare the environment that the evaluator expects: its folder on the path, seeds, and a `python` command."""
    sys.excepthook = print_error
    sys.path.insert(0, os.getcwd())
    seed(program, evaluator)
    watch(program)
    if shutil.which("python") is None:
        folder = os.path.abspath("overnight_bin")
        os.makedirs(folder, exist_ok=True)
        os.symlink(sys.executable, os.path.join(folder, "python"))
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), folder))


def watch(program):
    """Note who reads a program's text, if the program runs in a process of its own: it is not that of the program."""
    with open(program, "rb") as file:
        if b"__overnight__" not in file.read():
            return
    paths = {os.path.realpath(program)}  # with those of its copies

    def on_event(event, arguments):
        if event == "shutil.copyfile" and os.path.realpath(arguments[0]) in paths:
            paths.add(os.path.realpath(arguments[1]))
        may_be_one = event == "open" and str(arguments[0]).endswith(tuple(map(os.path.basename, paths)))
        if may_be_one and os.path.realpath(arguments[0]) in paths:
            readers.add(reader(sys._getframe(1)))

    sys.addaudithook(on_event)


def reader(frame):
    """Return the module that reads a file, in this frame or, by `linecache`, in one of its callers."""
    while frame.f_back and frame.f_globals.get("__name__") in ("linecache", "tokenize"):
        frame = frame.f_back
    return frame.f_globals.get("__name__")


def print_error(kind, error, trace):
    """Print an error as Python does, without the frames in which the bridge calls the evaluator.

    That the program's own process is lost says where it was called.
    """
    if kind.__name__ == "EvolvedProcessLost":
        sys.stderr.write(f"{error}\n")
        return
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
    """Write the metrics to the file that Overnight reads.

    Exit where they may depend on a text that is not the program's. Exit where the program's process is lost, too: where
    it shares this one, that ends the evaluator.
    """
    stand_in = sys.modules.get("overnight_calls.stand_in")
    if stand_in and stand_in.lost:
        raise SystemExit(str(stand_in.lost))
    if readers - READERS:
        raise SystemExit("the evaluator reads the text of the program, which runs in a process of its own")
    with open(METRICS_FILE, "w") as file:
        json.dump(metrics, file)
