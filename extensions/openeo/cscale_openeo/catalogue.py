"""The community's catalogue (a STAC API) as this service asks it: collections and item search."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urljoin

import httpx

from cscale_openeo.errors import OpenEOError

_PAGE = 200


class CatalogueClient:
    """Read-only client; every failure of the other side is an :class:`OpenEOError` 503."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._http = http

    async def _ask(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise OpenEOError(
                "UpstreamUnavailable",
                f"The catalogue does not answer ({type(error).__name__}). Try again later.",
            ) from error
        if response.status_code >= 500:
            raise OpenEOError(
                "UpstreamUnavailable",
                f"The catalogue answers with an error of its own ({response.status_code}).",
            )
        return response

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError as error:
            raise OpenEOError(
                "UpstreamUnavailable", "The catalogue does not speak JSON."
            ) from error
        if response.status_code >= 400 or not isinstance(body, dict):
            raise OpenEOError(
                "UpstreamUnavailable",
                f"The catalogue refuses the question ({response.status_code}).",
            )
        return body

    async def collections(self) -> list[dict[str, Any]]:
        """All collections, every page."""
        found: list[dict[str, Any]] = []
        url: str | None = f"{self.url}/collections"
        seen: set[str] = set()
        while url and url not in seen:
            seen.add(url)
            body = self._json(await self._ask("GET", url))
            found += body.get("collections", [])
            following = _link(body, "next")
            url = urljoin(url, following["href"]) if following else None
        return found

    async def collection(self, identifier: str) -> dict[str, Any]:
        """One collection.

        :raises OpenEOError: CollectionNotFound.
        """
        response = await self._ask("GET", f"{self.url}/collections/{quote(identifier, safe='')}")
        if response.status_code in (400, 404):
            raise OpenEOError("CollectionNotFound", f"Collection '{identifier}' does not exist.")
        return self._json(response)

    async def sample(self, collection: str) -> list[dict[str, Any]]:
        """One item of a collection, if it has any."""
        url = f"{self.url}/collections/{quote(collection, safe='')}/items"
        page = self._json(await self._ask("GET", url, params={"limit": 1}))
        return list(page.get("features", []))[:1]

    async def search(
        self, collection: str, bbox: list[float], interval: str, maximum: int
    ) -> list[dict[str, Any]]:
        """Items that intersect the box (WGS 84) and the closed interval, every page.

        :raises OpenEOError: ProcessGraphComplexity when there are more than ``maximum``.
        """
        method, url = "POST", f"{self.url}/search"
        body: dict[str, Any] | None = {
            "collections": [collection],
            "bbox": bbox,
            "datetime": interval,
            "limit": min(_PAGE, maximum + 1),
        }
        headers: dict[str, str] = {}
        found: dict[str, dict[str, Any]] = {}
        asked: set[str] = set()
        while True:
            key = f"{method} {url} {body}"
            if key in asked:
                break  # a next link that leads back must not hold us for ever
            asked.add(key)
            response = await self._ask(
                method, url, json=body if method == "POST" else None, headers=headers
            )
            page = self._json(response)
            for item in page.get("features", []):
                found[str(item["id"])] = item
            if len(found) > maximum:
                raise OpenEOError(
                    "ProcessGraphComplexity",
                    f"More than {maximum} items match; choose a smaller area or period.",
                )
            following = _link(page, "next")
            if following is None or not page.get("features"):
                break
            url = urljoin(url, following["href"])
            method = str(following.get("method", "GET")).upper()
            extra = following.get("body") or {}
            body = {**(body or {}), **extra} if following.get("merge") else extra or None
            if method not in ("GET", "POST"):
                break
        return list(found.values())


def _link(document: dict[str, Any], relation: str) -> dict[str, Any] | None:
    for link in document.get("links", []):
        if link.get("rel") == relation and link.get("href"):
            return dict(link)
    return None
