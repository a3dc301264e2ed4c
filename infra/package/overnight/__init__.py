"""Overnight: search for programs while you sleep."""
