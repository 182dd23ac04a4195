"""Layers of the map: pictures of items, of results of jobs and of objects in the buckets."""
