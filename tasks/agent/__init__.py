"""Agents that work on programs in containers of their own. Start reading in `source.py`."""
