"""The Prefect server that a night uses, and what keeps a night independent of it."""
