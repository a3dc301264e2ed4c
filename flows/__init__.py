"""WHEN, and in which order: the night, its generations, and the command line."""
