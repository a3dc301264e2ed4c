"""The `overnight` command."""
