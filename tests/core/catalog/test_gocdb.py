"""What the site registry's XML says becomes providers, and what is wrong in it becomes a note."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.gocdb import parsed, services, site_names
from cscale_core.errors import UpstreamError
from tests.core.catalog.gocdb_double import BOMB, OUTSIDE, service, sites
from tests.core.catalog.gocdb_double import services as answer

URL = "https://stac.example.eu/v1"


def read(*entries: str, site: str = "EODC", audience: str = "") -> tuple[list[Any], list[str]]:
    reading = services(parsed(answer(*entries).encode()), site, audience=audience)
    return [each.model_dump(exclude_defaults=True) for each in reading.providers], list(
        reading.notes
    )


def test_one_site_is_a_list_of_one_and_none_is_empty() -> None:
    assert site_names(parsed(sites("EODC").encode())) == ("EODC",)
    assert site_names(parsed(sites("EODC", "VITO", "EODC", " ").encode())) == ("EODC", "VITO")
    assert site_names(parsed(sites().encode())) == ()
    assert site_names(parsed(b"<results/>")) == ()


@pytest.mark.parametrize("name", ["STAC", "stac", " Stac "])
def test_the_endpoint_named_stac_is_the_one(name: str) -> None:
    other = "<ENDPOINT><NAME>openEO</NAME><URL>https://openeo.example.eu</URL></ENDPOINT>"
    found, notes = read(service(URL, name=name, more=other), service(URL, name="OGC"))
    assert found == [{"id": "EODC", "title": "EODC", "url": URL}]
    assert notes == []


def test_a_name_that_is_no_id_becomes_one_and_a_second_api_gets_a_number() -> None:
    found, _ = read(service(URL), service(URL + "/two"), site="Izola MRF / grid")
    assert [each["id"] for each in found] == ["Izola-MRF-grid", "Izola-MRF-grid-2"]
    assert found[0]["title"] == "Izola MRF / grid"


def test_extension_properties_tell_limits_and_policy_and_the_endpoints_win() -> None:
    said = {
        "LIMIT": "50",
        "Deadline": "12.5",
        "title": "EODC, Vienna",
        "licence": "CC-BY-4.0",
        "contacts": "support@example.eu, https://example.eu",
        "entitlement": "urn:mace:egi.eu:group:vo.x",
        "coverage": "9 46 17 49",
        "complete": "true",
        "collections": "SENTINEL1_GRD,urn:eop:S2",
        "collection.sentinel1_grd.interval": "-P30D/..",
        "collection.sentinel1_grd.retention": "rolling",
        "collection.sentinel1_grd.aliases": "sentinel-1-grd s1",
        "collection.sentinel1_grd.coverage": "POLYGON ((9 46, 17 46, 17 49, 9 46))",
    }
    [found], notes = read(
        service(URL, said=said, of_service={"limit": "7", "interval": "2015-01-01/.."})
    )
    assert notes == []
    assert (found["limit"], found["deadline"], found["title"]) == (50, 12.5, "EODC, Vienna")
    policy = found["policy"]
    assert policy["coverage"] == (9, 46, 17, 49)
    assert policy["complete"] is True
    assert policy["interval"] == "2015-01-01/.."
    assert policy["contacts"] == ("support@example.eu", "https://example.eu")
    grd, s2 = policy["collections"]
    assert (grd["id"], grd["retention"], grd["interval"]) == (
        "SENTINEL1_GRD",
        "rolling",
        "-P30D/..",
    )
    assert grd["aliases"] == ("sentinel-1-grd", "s1")
    assert grd["coverage"]["type"] == "Polygon"
    assert s2 == {"id": "urn:eop:S2"}


def test_what_is_unknown_or_wrong_is_noted_and_the_rest_is_used() -> None:
    said = {
        "LIMIT": "lots",
        "auth": "kerberos",
        "coverage": "everywhere",
        "interval": "yesterday",
        "colour": "blue",
        "collection.x.retention": "forever",
        "collection.x.colour": "blue",
        "": "nothing",
    }
    [found], notes = read(service(URL, said=said))
    assert (found["id"], found["url"]) == ("EODC", URL)
    assert "limit" not in found
    assert len(notes) == 8
    assert all(note.startswith("EODC: ") for note in notes)
    assert any("colour is not known" in note for note in notes)


@pytest.mark.parametrize(
    "url", ["", "ftp://x.example.eu", "https://u:p@x.example.eu", "https://[", "x"]
)
def test_an_address_that_is_none_leaves_out_that_one_only(url: str) -> None:
    found, notes = read(service(url), service(URL))
    assert [each["url"] for each in found] == [URL]
    assert len(notes) == 1
    assert "left out, url" in notes[0]


def test_the_registry_cannot_ask_for_tokens_unless_the_settings_name_the_audience() -> None:
    wants = service(URL, said={"auth": "bearer", "audience": "openeo"})
    [found], notes = read(wants)
    assert "auth" not in found
    assert "audience" not in found
    assert any("asks for a token" in note for note in notes)
    [found], _ = read(wants, audience="eodc-stac")
    assert (found["auth"], found["audience"]) == ("bearer", "eodc-stac")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>Maintenance</body></html>",
        b"{}",
        b"<results><SITE></results>",
        b"\xff\xfe\x00garbage",
        b'<?xml version="1.0" encoding="no-such"?><results/>',
        BOMB.encode(),
        OUTSIDE.encode(),
        b"<results>" + b"<a>" * 100_000,
    ],
    ids=["empty", "html", "json", "broken", "bytes", "encoding", "bomb", "outside", "deep"],
)
def test_what_is_not_the_registrys_xml_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(UpstreamError, match="not its XML"):
        parsed(data)


KEYS = st.sampled_from(["limit", "auth", "kind", "coverage", "interval", "collections", "complete"])


@given(
    said=st.dictionaries(KEYS | st.text(max_size=20), st.text(max_size=60), max_size=6),
    name=st.text(max_size=20),
)
def test_no_text_in_an_entry_is_an_error(said: dict[str, str], name: str) -> None:
    printable = {
        "".join(c for c in key if c.isprintable()): "".join(c for c in value if c.isprintable())
        for key, value in said.items()
    }
    safe = "".join(c for c in name if c.isprintable())
    found, notes = read(service(URL, said=printable), site=safe or "x")
    assert found or notes
