"""The night: a pure core that decides, one loop that acts, and Prefect's flow runs. Start with `core.py`."""
