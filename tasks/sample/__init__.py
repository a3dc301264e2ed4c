"""Build prompts from selected parents, request completions from models, and parse these into candidates.

Start reading at `prompts.py`, `gateway.py` and `sampler.py`.
"""
