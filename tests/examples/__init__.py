"""Worked examples of CONTRIBUTING.md: a package of plug-ins, and a kind of skeleton."""
