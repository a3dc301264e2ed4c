"""Run untrusted programs in containers, one container per slot, and return one verdict per candidate."""
