"""Collects the data of a run's report, or of a comparison of runs, from the history; start reading at `build`."""
