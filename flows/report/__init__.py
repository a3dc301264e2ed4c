"""Gathering the story of a run, or of runs beside each other, from the history."""
