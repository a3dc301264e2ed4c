"""The population, and what becomes of scored candidates in it."""
