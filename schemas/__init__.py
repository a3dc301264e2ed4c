"""Data types that all packages share: problems, programs, outcomes, settings, errors, tables.

No library that does the work is imported here. Start reading in `problem.py`, then `job.py` and `outcome.py`.
"""
