"""The views and macros over the history, one file each."""
