"""Problems with known optima, and a simulated model that works on them; start reading in `problems.py`."""
