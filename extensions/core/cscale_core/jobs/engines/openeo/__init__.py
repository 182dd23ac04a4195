"""The openEO engine: batch jobs at any back end that speaks the openEO API."""

from cscale_core.jobs.engines.openeo.engine import OpenEOEngine

__all__ = ["OpenEOEngine"]
