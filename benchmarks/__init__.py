"""Figures of C-SCALE Hub, each run again by ``python -m benchmarks.NAME``."""
