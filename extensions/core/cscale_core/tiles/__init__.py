"""Rasters on a map: tiles, values at a point, legends; read piece by piece from where they are."""
