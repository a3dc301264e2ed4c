"""The program inside the container: it forks one child a candidate, watches it, and reports what became of it.

Standard library only (numpy where the image has it), Python 3.11 or later, nothing of ours imported. It is not part of
any image: `bootstrap` is the command's text, and the other modules arrive on its standard input.
"""
