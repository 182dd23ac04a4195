"""Media types of the output formats; apart from :mod:`cscale_openeo.outputs`, which is heavy."""

from __future__ import annotations

MEDIA_TYPES = {
    "GTiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    "netCDF": "application/x-netcdf",
    "JSON": "application/json",
}
