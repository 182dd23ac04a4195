"""A GOCDB that answers what it is told to, started as a real HTTP server by the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE results [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + ']><results><SITE NAME="&i;"/></results>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE results [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    '<results><SITE NAME="&x;"/></results>'
)


def sites(*names: str) -> str:
    """An answer to ``get_site_list``."""
    rows = "".join(
        f'  <SITE ID="{n}" PRIMARY_KEY="{n}G0" NAME={quoteattr(name)} COUNTRY="Austria"/>\n'
        for n, name in enumerate(names, start=1)
    )
    return f"{HEAD}<results>\n{rows}</results>\n"


def properties(values: dict[str, str]) -> str:
    """Extension properties."""
    rows = "".join(
        f"<EXTENSION><LOCAL_ID>{n}</LOCAL_ID><KEY>{escape(k)}</KEY><VALUE>{escape(v)}</VALUE></EXTENSION>"
        for n, (k, v) in enumerate(values.items(), start=1)
    )
    return f"<EXTENSIONS>{rows}</EXTENSIONS>"


def service(
    url: str,
    *,
    name: str = "STAC",
    said: dict[str, str] | None = None,
    of_service: dict[str, str] | None = None,
    more: str = "",
) -> str:
    """One service with one endpoint."""
    return (
        '<SERVICE_ENDPOINT PRIMARY_KEY="1G0"><HOSTNAME>h</HOSTNAME><URL/><ENDPOINTS>'
        f"<ENDPOINT><ID>1</ID><NAME>{escape(name)}</NAME>{properties(said or {})}"
        f"<URL>{escape(url)}</URL></ENDPOINT>{more}</ENDPOINTS>"
        f"<SCOPES><SCOPE>C-SCALE</SCOPE></SCOPES>{properties(of_service or {})}"
        "</SERVICE_ENDPOINT>"
    )


def services(*entries: str) -> str:
    """An answer to ``get_service_endpoint``."""
    return f"{HEAD}<results>{''.join(entries)}</results>"


@dataclass(slots=True)
class Gocdb:
    """What is answered: the list of sites, and the services of each; a number is a status."""

    sites: str | bytes | int = ""
    services: dict[str, str | bytes | int] = field(default_factory=dict)
    delay: float = 0.0
    asked: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        async def answer(request: Request) -> Response:
            asked = dict(request.query_params)
            self.asked.append(asked)
            await asyncio.sleep(self.delay)
            content: str | bytes | int = self.sites
            if asked["method"] == "get_service_endpoint":
                content = self.services.get(asked["sitename"], services())
            if isinstance(content, int):
                return Response("<html>no</html>", status_code=content)
            return Response(content, media_type="application/xml")

        return Starlette(routes=[Route("/gocdbpi/public/", answer)])


Serve = Callable[[Starlette], str]
