"""Sandbox backends, each in the module that has its name; `tasks/evaluate/registry.py` finds them."""
