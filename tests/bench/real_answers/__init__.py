"""Answers that models really gave in public repositories and in our own histories: a store, and what it says."""
