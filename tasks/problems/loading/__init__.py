"""Load problems from disk: a specification, a directory, or a task of another tool.

Start reading in `load.py`. `stored_problem.py` compares the problem of a run with its files. Nothing here imports or
executes what it reads.
"""
