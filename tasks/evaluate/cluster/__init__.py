"""Evaluation on other machines, over dask.distributed. Start reading in `cluster_pool.py`."""
