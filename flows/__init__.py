"""Orchestration: the night, its generations, schedules, and the command line."""
