"""Prefect servers: starting one, access to it, and nights that survive its outages. Start reading at `embedded`."""
