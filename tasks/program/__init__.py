"""The text of programs: what every other package of `tasks/` knows of them. Start reading in `specification.py`."""
