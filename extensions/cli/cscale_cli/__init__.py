"""The one command line, ``cscale``."""
