"""The program that runs inside the container: fork one child per candidate, supervise it and report the result.

It uses the standard library only (and numpy where the image has it), needs Python 3.11 or later and imports nothing
from the rest of Overnight. It is not part of any image: `bootstrap` is passed to `python3 -c`, and the other modules
are sent to its standard input. Start reading at `fork_server`.
"""
