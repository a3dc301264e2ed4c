"""A cluster of machines that evaluate: its address, certificates and processes."""
