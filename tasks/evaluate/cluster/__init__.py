"""Evaluation on other machines, over dask.distributed. Start reading in `pool.py`."""
