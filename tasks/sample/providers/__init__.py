"""Providers of models, one a module; `tasks/sample/provider.py` chooses by the first part of a model's name."""
