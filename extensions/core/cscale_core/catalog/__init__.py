"""See the package docstring of :mod:`cscale_core`."""
