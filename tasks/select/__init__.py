"""Search algorithms: which programs prompts show, which stay. Start reading at `schemas/algorithm.py`."""
