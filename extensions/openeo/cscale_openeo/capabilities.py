"""The documents that say what this back end is and can do."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from cscale_openeo.config import Config
from cscale_openeo.outputs_formats import MEDIA_TYPES

API_VERSION = "1.2.0"
CONFORMANCE = [
    "https://api.openeo.org/1.2.0",
    "https://api.openeo.org/extensions/processing-parameters/0.1.0",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
]

#: What is served, as the capabilities document lists it.
ENDPOINTS: list[tuple[str, list[str]]] = [
    ("/", ["GET"]),
    ("/conformance", ["GET"]),
    ("/file_formats", ["GET"]),
    ("/udf_runtimes", ["GET"]),
    ("/service_types", ["GET"]),
    ("/collections", ["GET"]),
    ("/collections/{collection_id}", ["GET"]),
    ("/processes", ["GET"]),
    ("/process_graphs", ["GET"]),
    ("/process_graphs/{process_graph_id}", ["GET", "PUT", "DELETE"]),
    ("/credentials/oidc", ["GET"]),
    ("/me", ["GET"]),
    ("/validation", ["POST"]),
    ("/result", ["POST"]),
    ("/jobs", ["GET", "POST"]),
    ("/jobs/{job_id}", ["GET", "PATCH", "DELETE"]),
    ("/jobs/{job_id}/estimate", ["GET"]),
    ("/jobs/{job_id}/logs", ["GET"]),
    ("/jobs/{job_id}/results", ["GET", "POST", "DELETE"]),
]


def well_known(config: Config) -> dict[str, Any]:
    """``/.well-known/openeo``."""
    return {
        "versions": [
            {"url": f"{config.base_url}/", "api_version": API_VERSION, "production": False}
        ]
    }


def capabilities(config: Config) -> dict[str, Any]:
    """``GET /``."""
    base = config.base_url
    return {
        "api_version": API_VERSION,
        "backend_version": importlib.metadata.version("cscale-hub"),
        "stac_version": "1.0.0",
        "type": "Catalog",
        "production": False,
        "id": "cscale-openeo",
        "title": config.title,
        "description": (
            "openEO process graphs on Apache Spark, on the collections of the community's "
            "catalogue; results go to the bucket of your virtual organisation."
        ),
        "conformsTo": CONFORMANCE,
        "endpoints": [{"path": path, "methods": methods} for path, methods in ENDPOINTS],
        "links": [
            {"rel": "self", "href": f"{base}/", "type": "application/json"},
            {"rel": "version-history", "href": f"{base}/.well-known/openeo"},
            {"rel": "data", "href": f"{base}/collections", "type": "application/json"},
            {"rel": "conformance", "href": f"{base}/conformance", "type": "application/json"},
        ],
    }


def file_formats() -> dict[str, Any]:
    """``GET /file_formats``."""
    prefix = {
        "filename_prefix": {
            "type": "string",
            "description": (
                "Start of the file names: PREFIX_<label> for each label of a temporal dimension, "
                "PREFIX without one. Each save_result of a graph needs its own."
            ),
            "default": "openEO",
        }
    }
    described = {
        "GTiff": ("Cloud-Optimised GeoTIFF, float32, NaN where there is no data", ["raster"]),
        "netCDF": ("netCDF, 64-bit offset format, float32", ["raster"]),
        "JSON": ("JSON with dimensions, labels and values; for small results", ["raster", "other"]),
    }
    return {
        "input": {},
        "output": {
            name: {
                "title": name,
                "description": f"{text} ({MEDIA_TYPES[name]}).",
                "gis_data_types": types,
                "parameters": prefix,
            }
            for name, (text, types) in described.items()
        },
    }


def udf_runtimes() -> dict[str, Any]:
    """``GET /udf_runtimes``."""
    version = platform.python_version()
    libraries = ("numpy", "xarray", "pandas", "scipy", "shapely", "openeo")
    return {
        "Python": {
            "title": "Python, by the official openeo.udf runtime",
            "description": "apply_datacube, apply_timeseries; the cube has t, bands, y, x.",
            "type": "language",
            "default": version,
            "versions": {
                version: {
                    "libraries": {
                        name: {"version": importlib.metadata.version(name)} for name in libraries
                    }
                }
            },
        }
    }


def oidc_providers(config: Config) -> dict[str, Any]:
    """``GET /credentials/oidc``."""
    return {
        "providers": [
            {
                "id": config.provider_id,
                "issuer": config.issuer,
                "title": config.provider_title,
                "scopes": ["openid", "email", "eduperson_entitlement", "offline_access"],
                "default_clients": [
                    {
                        "id": config.oidc_client_id,
                        "grant_types": [
                            "urn:ietf:params:oauth:grant-type:device_code+pkce",
                            "refresh_token",
                        ],
                    }
                ],
            }
        ]
    }
