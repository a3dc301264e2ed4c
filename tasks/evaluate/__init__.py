"""Untrusted programs, judged: a container a slot, a fork server inside, one verdict a candidate."""
