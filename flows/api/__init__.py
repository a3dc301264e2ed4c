"""The Python API, which `import overnight` shows: a thin layer over the commands and the history."""
