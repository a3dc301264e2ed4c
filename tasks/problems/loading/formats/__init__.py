"""The formats that problems have on disk: each module has a `FORMAT`, and `load.py` lists them."""
