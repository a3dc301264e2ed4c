"""Worked examples of CONTRIBUTING.md: one module for each seam, and the tests that run its contract over it."""
