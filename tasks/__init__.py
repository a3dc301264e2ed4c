"""THE WORK: sampling, evaluation, selection, the history, and the problems. Rooms meet through `schemas` only."""
