"""SQL of the views over the history, one file each, of the macros, and of the cookbook."""
