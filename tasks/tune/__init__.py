"""Tune the numbers of programs by evaluations alone. Start reading in `tuning.py`."""
