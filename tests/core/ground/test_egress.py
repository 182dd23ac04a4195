"""Who may be asked: what the operator names may be inside, what others name may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cscale_core.errors import CScaleError, Forbidden
from cscale_core.http import fetch_json, guarded_client, provider_egress, site_egress
from cscale_core.providers import Provider
from cscale_core.site import Site

MakeSite = Callable[..., Site]

INSIDE = [
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "[::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]


def provider(url: str) -> Provider:
    return Provider(id="p", title="P", url=url)


def api(*, to: str = "") -> Starlette:
    async def root(_: Request) -> Response:
        return RedirectResponse(to, 307) if to else JSONResponse({"inside": True})

    return Starlette(routes=[Route("/", root)])


async def ask(site: Site, url: str, registered: Provider | None = None) -> Any:
    async with guarded_client(site) as http:
        egress = provider_egress(site, registered) if registered else site_egress(site)
        return (await fetch_json(http, egress, "GET", url)).body


@pytest.mark.parametrize("host", INSIDE)
def test_an_address_inside_is_the_operators_to_give_and_not_the_registrys(
    host: str, make_site: MakeSite
) -> None:
    url = f"https://{host}/stac"
    declared = make_site(providers=[provider(url).model_dump()])
    site_egress(declared).check(url)
    with pytest.raises(Forbidden, match="private address"):
        provider_egress(make_site(), provider(url)).check(url)
    with pytest.raises(Forbidden, match="not a service of this site"):
        site_egress(make_site()).check(url)


def test_a_host_of_the_registry_may_be_asked_at_public_addresses(make_site: MakeSite) -> None:
    egress = provider_egress(make_site(), provider("https://stac.example.eu/v1"))
    egress.check("https://stac.example.eu/v1/search")
    egress.check_address("stac.example.eu", 443, "93.184.215.14")
    for address in ("127.0.0.1", "10.0.0.1", "::1", "169.254.169.254"):
        with pytest.raises(Forbidden, match="private address"):
            egress.check_address("stac.example.eu", 443, address)
    with pytest.raises(Forbidden, match="not a service of this site"):
        egress.check("https://stac.example.eu:8443/")


def test_the_registry_itself_may_be_inside_when_given_so(make_site: MakeSite) -> None:
    url = "http://127.0.0.1:9999/gocdbpi/public/"
    site_egress(make_site(site_registry={"url": url})).check(url)
    named = make_site(site_registry={"url": "https://goc.example.eu/"})
    with pytest.raises(Forbidden):
        site_egress(named).check_address("goc.example.eu", 443, "10.0.0.1")


async def test_a_registered_name_that_means_an_inside_address_is_not_connected_to(
    serve: Any, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve(api()).rsplit(":", 1)[1]
    url = f"http://stac.example.eu:{port}/"
    registered = provider(url)

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    with pytest.raises(Forbidden, match="private address"):
        await ask(make_site(), url, registered)
    allowed = make_site(allowed_hosts=[f"stac.example.eu:{port}"])
    assert await ask(allowed, url, registered) == {"inside": True}


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1."])
async def test_another_spelling_of_an_inside_address_is_not_asked(
    host: str, serve: Any, make_site: MakeSite
) -> None:
    port = serve(api()).rsplit(":", 1)[1]
    url = f"http://{host}:{port}/"
    with pytest.raises(CScaleError):
        await ask(make_site(), url, provider(url))


async def test_a_registered_provider_cannot_redirect_to_the_inside(
    serve: Any, make_site: MakeSite
) -> None:
    inside = serve(api())
    outside = serve(api(to=inside + "/"))
    host = outside.removeprefix("http://")
    site = make_site(allowed_hosts=[host])
    with pytest.raises(Forbidden, match="not a service of this site"):
        await ask(site, outside + "/", provider(outside))
    for target in ("http://169.254.169.254/", "http://[::1]:1/", "file:///etc/passwd"):
        again = serve(api(to=target))
        site = make_site(allowed_hosts=[again.removeprefix("http://")])
        with pytest.raises(CScaleError) as caught:
            await ask(site, again + "/", provider(again))
        assert isinstance(caught.value, Forbidden)


def test_a_provider_of_the_registry_leads_to_no_service_of_the_site(make_site: MakeSite) -> None:
    stranger = provider("https://stac.example.eu/v1")
    site = make_site(providers=[{**provider("https://own.example.eu").model_dump(), "id": "own"}])
    egress = provider_egress(site, stranger)
    for inside in (site.catalogue.url, site.s3.endpoint, "https://own.example.eu/search"):
        with pytest.raises(Forbidden, match="not a service of this site"):
            egress.check(inside)
        provider_egress(site, site.providers[0]).check(inside)
