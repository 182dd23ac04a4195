"""Jupyter Server extension: thin routes, events and the loopback credentials endpoint."""
