"""Programs that run in an agent's container, of the standard library only; `supervisor.py` is its first process."""
