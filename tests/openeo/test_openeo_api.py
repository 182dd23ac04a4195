"""The API over real HTTP: documents, login, jobs without starting them, synchronous processing."""

from __future__ import annotations

import io
import json
import stat
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
import openeo
import pytest
import rasterio
from openeo_builders import (
    Scene,
    aqua_monitor_graph,
    child,
    load_node,
    node,
    par,
    ref,
)
from openeo_servers import BUCKET, OTHER_VO, VO, Issuer, Running

from cscale_core.identity.slug import user_slug
from tests.waiting import until

ALICE, BOB, BOTH, STRANGER = (f"{digit * 64}@egi.eu" for digit in "abcd")


@pytest.fixture
def http(service: Running) -> Any:
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client


def mean_graph(fmt: str = "GTiff") -> dict[str, Any]:
    return {
        "load": load_node(),
        "mean": node(
            "reduce_dimension",
            data=ref("load"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "save": node("save_result", True, data=ref("mean"), format=fmt),
    }


def job_body(graph: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"title": "A job", "process": {"process_graph": graph or mean_graph()}, **more}


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert set(body) == {"id", "code", "message", "links"}
    assert body["code"] == code
    return body


# --- documents ------------------------------------------------------------------------------------


def test_capabilities_list_only_what_is_served(http: httpx.Client, alice: dict[str, str]) -> None:
    body = http.get("/").json()
    assert body["api_version"] == "1.2.0"
    for endpoint in body["endpoints"]:
        for method in endpoint["methods"]:
            path = endpoint["path"]
            for name in ("collection_id", "process_graph_id", "job_id"):
                path = path.replace(f"{{{name}}}", "no-such-thing")
            response = http.request(method, path, headers=alice, json={})
            assert response.status_code not in (405, 501), (method, path)
            if response.status_code == 404:
                assert response.json()["code"] != "NotFound", (method, path)
    assert_error(http.get("/no/such/path"), 404, "NotFound")
    assert_error(http.put("/jobs", headers=alice), 501, "FeatureUnsupported")


def test_well_known_names_the_address_of_clients(http: httpx.Client, service: Running) -> None:
    versions = http.get("/.well-known/openeo").json()["versions"]
    assert [v["api_version"] for v in versions] == ["1.2.0"]
    assert versions[0]["url"] == f"{service.url}/"


def test_login_is_described(http: httpx.Client, issuer: Issuer) -> None:
    (provider,) = http.get("/credentials/oidc").json()["providers"]
    assert provider["id"] == "egi"
    assert provider["issuer"] == issuer.url
    assert provider["default_clients"][0]["id"] == "cscale-openeo"
    assert (
        "urn:ietf:params:oauth:grant-type:device_code+pkce"
        in provider["default_clients"][0]["grant_types"]
    )


def test_collections_have_dimensions_and_bands(http: httpx.Client) -> None:
    listed = http.get("/collections").json()["collections"]
    assert [c["id"] for c in listed] == ["scenes"]
    one = http.get("/collections/scenes").json()
    assert one["cube:dimensions"]["bands"] == {"type": "bands", "values": ["B11", "B08", "B03"]}
    assert one["cube:dimensions"]["t"]["type"] == "temporal"
    assert one["summaries"]["eo:bands"][2]["common_name"] == "green"
    assert_error(http.get("/collections/nothing"), 404, "CollectionNotFound")


def test_the_official_client_reads_the_metadata(service: Running) -> None:
    connection = openeo.connect(service.url)
    assert connection.capabilities().api_version() == "1.2.0"
    cube = connection.load_collection("scenes", bands=["green"])
    assert cube.metadata.band_names == ["B03"]
    assert {p["id"] for p in connection.list_processes()} >= {"load_collection", "quantiles"}
    assert "GTiff" in connection.list_file_formats()["output"]
    assert "Python" in connection.list_udf_runtimes()


# --- login ----------------------------------------------------------------------------------------


def test_me_is_the_subject(http: httpx.Client, alice: dict[str, str]) -> None:
    body = http.get("/me", headers=alice).json()
    assert body["user_id"] == ALICE
    assert body["cscale:vos"] == [VO]


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "AuthenticationRequired"),
        ("Basic YTpi", 403, "AuthenticationSchemeInvalid"),
        ("Bearer basic//abc", 403, "AuthenticationSchemeInvalid"),
        ("Bearer oidc/other/abc", 403, "AuthenticationSchemeInvalid"),
        ("Bearer oidc/egi/not-a-token", 403, "TokenInvalid"),
    ],
)
def test_malformed_logins(http: httpx.Client, header: str | None, status: int, code: str) -> None:
    response = http.get("/jobs", headers={"Authorization": header} if header else {})
    assert_error(response, status, code)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"aud": ["s3"]},
        {"aud": "account"},
        {"iss": "http://elsewhere.example"},
        {"sub": None},
    ],
)
def test_tokens_not_meant_for_us(
    http: httpx.Client, issuer: Issuer, claims: dict[str, Any]
) -> None:
    if "sub" in claims:
        token = issuer.token(ALICE)
        body = jwt.decode(token, options={"verify_signature": False})
        del body["sub"]
        token = jwt.encode(body, issuer.keys["one"], algorithm="RS256", headers={"kid": "one"})
        headers = {"Authorization": f"Bearer oidc/egi/{token}"}
    else:
        headers = issuer.bearer(ALICE, **claims)
    assert_error(http.get("/me", headers=headers), 403, "TokenInvalid")


def test_forged_tokens(http: httpx.Client, issuer: Issuer) -> None:
    body = jwt.decode(issuer.token(ALICE), options={"verify_signature": False})
    stranger = Issuer(url=issuer.url)
    stranger.rotate("one")
    unsigned = jwt.encode(body, None, algorithm="none", headers={"kid": "one"})
    symmetric = jwt.encode(body, "a" * 64, algorithm="HS256", headers={"kid": "one"})
    for token in (stranger.token(ALICE), unsigned, symmetric):
        headers = {"Authorization": f"Bearer oidc/egi/{token}"}
        assert_error(http.get("/me", headers=headers), 403, "TokenInvalid")


def test_no_vo_says_how_to_enrol(http: httpx.Client, issuer: Issuer) -> None:
    headers = issuer.bearer(STRANGER)
    body = assert_error(
        http.post("/jobs", headers=headers, json=job_body()), 403, "PermissionsInsufficient"
    )
    assert VO in body["message"]
    assert "https://enrol.example/" in body["message"]


def test_keys_rotate(http: httpx.Client, issuer: Issuer) -> None:
    issuer.rotate("two")

    def accepted() -> bool:
        headers = {"Authorization": f"Bearer oidc/egi/{issuer.token(BOB, kid='two')}"}
        return http.get("/me", headers=headers).status_code == 200

    # An unknown key is asked for again at once, unless it was just asked for.
    until(accepted, "the new key, accepted,", 15)


def test_an_outage_of_the_identity_provider_is_no_invalid_token(
    http: httpx.Client, issuer: Issuer, alice: dict[str, str]
) -> None:
    assert http.get("/me", headers=alice).status_code == 200
    issuer.broken = True
    try:
        fresh = issuer.bearer(ALICE, jti="fresh")
        response = http.get("/me", headers=fresh)
        assert_error(response, 503, "UpstreamUnavailable")
        assert response.headers["Retry-After"]
        # Who was known a moment ago still is.
        assert http.get("/me", headers=alice).status_code == 200
    finally:
        issuer.broken = False
    assert http.get("/me", headers=fresh).status_code == 200


# --- validation -----------------------------------------------------------------------------------


def validate(http: httpx.Client, headers: dict[str, str], graph: dict[str, Any]) -> list[str]:
    response = http.post("/validation", headers=headers, json={"process_graph": graph})
    assert response.status_code == 200, response.text
    return [error["code"] for error in response.json()["errors"]]


def test_validation(http: httpx.Client, alice: dict[str, str]) -> None:
    good = aqua_monitor_graph()
    assert validate(http, alice, good) == []

    unknown = mean_graph()
    unknown["mean"]["process_id"] = "make_it_nice"
    assert validate(http, alice, unknown) == ["ProcessUnsupported"]

    missing = mean_graph()
    del missing["mean"]["arguments"]["dimension"]
    assert validate(http, alice, missing) == ["ProcessParameterRequired"]

    extra = mean_graph()
    extra["load"]["arguments"]["cloudiness"] = 3
    assert validate(http, alice, extra) == ["ProcessParameterUnsupported"]

    lost = mean_graph()
    lost["mean"]["arguments"]["data"] = ref("nowhere")
    assert validate(http, alice, lost) == ["ProcessGraphInvalid"]

    circle = mean_graph()
    circle["load"] = node("filter_bands", data=ref("mean"), bands=["B03"])
    assert "ProcessGraphInvalid" in validate(http, alice, circle)

    parameter = mean_graph()
    parameter["mean"]["arguments"]["reducer"]["process_graph"]["r"]["arguments"]["data"] = par("x")
    assert validate(http, alice, parameter) == ["ProcessGraphInvalid"]

    bands = mean_graph()
    bands["load"]["arguments"]["bands"] = ["B99"]
    assert validate(http, alice, bands) == ["ProcessParameterInvalid"]

    collection = mean_graph()
    collection["load"]["arguments"]["id"] = "nothing"
    assert validate(http, alice, collection) == ["CollectionNotFound"]

    twice = mean_graph()
    twice["again"] = node("save_result", data=ref("mean"), format="GTiff")
    assert validate(http, alice, twice) == ["ProcessParameterInvalid"]

    escaping = mean_graph()
    escaping["save"]["arguments"]["options"] = {"filename_prefix": "../../etc/x"}
    assert validate(http, alice, escaping) == ["ProcessParameterInvalid"]

    nothing = mean_graph()
    nothing["load"]["arguments"]["temporal_extent"] = ["1999-01-01", "1999-02-01"]
    assert validate(http, alice, nothing) == ["NoDataAvailable"]

    every = mean_graph() | {"other": node("no_such", x=1)}
    every["mean"]["arguments"]["nonsense"] = 1
    assert sorted(validate(http, alice, every)) == [
        "ProcessParameterUnsupported",
        "ProcessUnsupported",
    ]


# --- jobs, not started ----------------------------------------------------------------------------


def create(http: httpx.Client, headers: dict[str, str], **more: Any) -> str:
    response = http.post("/jobs", headers=headers, json=job_body(**more))
    assert response.status_code == 201, response.text
    identifier = response.headers["OpenEO-Identifier"]
    assert response.headers["Location"].endswith(f"/jobs/{identifier}")
    return identifier


def test_a_job_lives(http: httpx.Client, alice: dict[str, str]) -> None:
    job = create(http, alice, description="Mean")
    shown = http.get(f"/jobs/{job}", headers=alice).json()
    assert shown["status"] == "created"
    assert shown["process"]["process_graph"] == mean_graph()
    assert shown["job_options"]["vo"] == VO
    assert http.patch(f"/jobs/{job}", headers=alice, json={"title": "New"}).status_code == 204
    assert http.get(f"/jobs/{job}", headers=alice).json()["title"] == "New"
    assert_error(
        http.patch(f"/jobs/{job}", headers=alice, json={"status": "finished"}),
        400,
        "PropertyNotEditable",
    )
    assert_error(http.patch(f"/jobs/{job}", headers=alice, json={}), 400, "NoDataForUpdate")
    assert http.get(f"/jobs/{job}/estimate", headers=alice).json()["duration"].startswith("PT")
    assert_error(http.get(f"/jobs/{job}/results", headers=alice), 400, "JobNotFinished")
    assert http.delete(f"/jobs/{job}/results", headers=alice).status_code == 204
    assert http.get(f"/jobs/{job}", headers=alice).json()["status"] == "created"
    assert http.delete(f"/jobs/{job}", headers=alice).status_code == 204
    assert_error(http.get(f"/jobs/{job}", headers=alice), 404, "JobNotFound")


def test_inputs_are_frozen_over_all_pages_and_half_open(
    http: httpx.Client, alice: dict[str, str], service: Running
) -> None:
    graph = mean_graph()
    graph["load"]["arguments"]["temporal_extent"] = ["2019-01-01", "2021-01-01T00:00:00Z"]
    job = create(http, alice, graph=graph)
    frozen = json.loads((service.data_dir / "jobs" / job / "items.json").read_text())
    items = frozen["load"]["items"]
    # The first of 2021 is at the very end of the period, which is not in it.
    assert [item["datetime"][:4] for item in items] == ["2019"] * 3 + ["2020"] * 3
    assert items == sorted(items, key=lambda i: i["datetime"])
    assert items[0]["assets"]["B03"]["href"].startswith(f"s3://{BUCKET}/products/scenes/")
    assert len(service.catalogue.searches[-1]["bbox"]) == 4


def test_property_filters_are_applied_or_refused(
    http: httpx.Client, alice: dict[str, str], service: Running
) -> None:
    graph = mean_graph()
    graph["load"]["arguments"]["properties"] = {
        "eo:cloud_cover": child(c=node("lte", x=par("value"), y=30))
    }
    job = create(http, alice, graph=graph)
    frozen = json.loads((service.data_dir / "jobs" / job / "items.json").read_text())
    assert len(frozen["load"]["items"]) == 4
    graph["load"]["arguments"]["properties"] = {
        "eo:cloud_cover": child(a=node("add", x=par("value"), y=1), c=node("lte", x=ref("a"), y=30))
    }
    response = http.post("/jobs", headers=alice, json=job_body(graph))
    assert_error(response, 400, "ProcessParameterUnsupported")


def test_nobody_else_sees_a_job(
    http: httpx.Client, alice: dict[str, str], bob: dict[str, str]
) -> None:
    job = create(http, alice)
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/estimate"),
        ("GET", "/logs"),
        ("GET", "/results"),
        ("POST", "/results"),
        ("DELETE", "/results"),
    ]:
        response = http.request(method, f"/jobs/{job}{path}", headers=bob, json={"title": "mine"})
        assert_error(response, 404, "JobNotFound")
    assert job not in [j["id"] for j in http.get("/jobs", headers=bob).json()["jobs"]]
    assert http.get(f"/jobs/{job}", headers=alice).json()["title"] == "A job"


def test_jobs_come_in_pages(http: httpx.Client, issuer: Issuer) -> None:
    headers = issuer.bearer(BOTH)
    made = [create(http, headers) for _ in range(5)]
    seen: list[str] = []
    page = http.get("/jobs", headers=headers, params={"limit": 2}).json()
    while True:
        seen += [job["id"] for job in page["jobs"]]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        page = http.get(following[0], headers=headers).json()
    assert seen == made[::-1]
    assert_error(http.get("/jobs?page=xyz", headers=headers), 400, "RequestInvalid")
    assert_error(http.get("/jobs?limit=0", headers=headers), 400, "RequestInvalid")


def test_the_vo_is_chosen_among_the_users_own(
    http: httpx.Client, issuer: Issuer, alice: dict[str, str]
) -> None:
    both = issuer.bearer(BOTH)
    job = create(http, both, job_options={"vo": OTHER_VO})
    assert http.get(f"/jobs/{job}", headers=both).json()["job_options"]["vo"] == OTHER_VO
    assert_error(
        http.post("/jobs", headers=alice, json=job_body(job_options={"vo": OTHER_VO})),
        403,
        "PermissionsInsufficient",
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "ProcessGraphMissing"),
        ({"process": {}}, "ProcessGraphMissing"),
        ({"process": {"process_graph": {"a": 1}}}, "ProcessGraphInvalid"),
        (job_body(log_level="loud"), "InvalidLogLevel"),
        (job_body(budget=3), "BudgetInvalid"),
        (job_body(plan="gold"), "BillingPlanInvalid"),
        (job_body(title=5), "RequestInvalid"),
    ],
)
def test_bodies_that_are_refused(
    http: httpx.Client, alice: dict[str, str], body: dict[str, Any], code: str
) -> None:
    assert_error(http.post("/jobs", headers=alice, json=body), 400, code)


def test_a_body_that_is_no_json(http: httpx.Client, alice: dict[str, str]) -> None:
    assert_error(http.post("/jobs", headers=alice, content=b"{"), 400, "RequestInvalid")


def test_an_empty_search_ends_before_spark(http: httpx.Client, alice: dict[str, str]) -> None:
    graph = mean_graph()
    graph["load"]["arguments"]["temporal_extent"] = ["1999-01-01", "1999-02-01"]
    job = create(http, alice, graph=graph)
    response = http.post(f"/jobs/{job}/results", headers=alice)
    assert_error(response, 400, "NoDataAvailable")
    assert http.get(f"/jobs/{job}", headers=alice).json()["status"] == "error"
    assert_error(http.get(f"/jobs/{job}/results", headers=alice), 424, "NoDataAvailable")
    errors = http.get(f"/jobs/{job}/logs?level=error", headers=alice).json()["logs"]
    assert [entry["code"] for entry in errors] == ["NoDataAvailable"]


def test_logs_have_a_cursor(http: httpx.Client, alice: dict[str, str]) -> None:
    graph = mean_graph()
    graph["load"]["arguments"]["temporal_extent"] = ["1999-01-01", "1999-02-01"]
    job = create(http, alice, graph=graph)
    http.post(f"/jobs/{job}/results", headers=alice)
    everything = http.get(f"/jobs/{job}/logs", headers=alice).json()["logs"]
    assert [entry["level"] for entry in everything] == ["warning", "error"]
    first = http.get(f"/jobs/{job}/logs?limit=1", headers=alice).json()
    assert first["logs"] == everything[:1]
    rest = http.get(first["links"][0]["href"], headers=alice).json()
    assert rest["logs"] == everything[1:]
    assert rest["links"] == []
    assert_error(http.get(f"/jobs/{job}/logs?level=x", headers=alice), 400, "InvalidLogLevel")


def test_an_outage_of_the_catalogue_is_said(
    http: httpx.Client, alice: dict[str, str], service: Running
) -> None:
    service.catalogue.broken = True
    try:
        assert_error(http.post("/jobs", headers=alice, json=job_body()), 503, "UpstreamUnavailable")
    finally:
        service.catalogue.broken = False


# --- at once --------------------------------------------------------------------------------------


def test_a_small_graph_is_computed_at_once(
    http: httpx.Client, alice: dict[str, str], service: Running, scenes: list[Scene]
) -> None:
    response = http.post(
        "/result", headers=alice, json={"process": {"process_graph": mean_graph()}}
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("image/tiff")
    with rasterio.MemoryFile(response.content) as memory, memory.open() as dataset:
        values = dataset.read()
    assert values.shape == (3, 181, 191)
    assert 0.03 < np.nanmean(values) < 0.5
    # It is cleared when the answer has been sent.
    jobs = service.data_dir / "jobs"
    until(lambda: not list(jobs.glob("s-*")), "the end of the run's folder", 10)


def test_several_files_come_as_one_archive(http: httpx.Client, alice: dict[str, str]) -> None:
    graph = mean_graph()
    graph["all"] = node(
        "save_result",
        data=ref("load"),
        format="netCDF",
        options={"filename_prefix": "all"},
    )
    response = http.post("/result", headers=alice, json={"process": {"process_graph": graph}})
    assert response.status_code == 200, response.text
    names = zipfile.ZipFile(io.BytesIO(response.content)).namelist()
    assert sorted(names) == ["all.nc", "openEO.tif"]


def test_a_user_defined_process_is_put_in(http: httpx.Client, alice: dict[str, str]) -> None:
    definition = {
        "parameters": [
            {"name": "data", "schema": {"type": "object", "subtype": "datacube"}},
            {"name": "factor", "schema": {"type": "number"}, "optional": True, "default": 3},
        ],
        "process_graph": {
            "m": node(
                "apply",
                True,
                data=par("data"),
                process=child(x=node("multiply", x=par("x"), y=par("factor"))),
            )
        },
    }
    assert http.put("/process_graphs/stretch", headers=alice, json=definition).status_code == 200
    listed = http.get("/process_graphs", headers=alice).json()["processes"]
    assert [p["id"] for p in listed] == ["stretch"]
    assert_error(
        http.put("/process_graphs/mean", headers=alice, json=definition),
        400,
        "PredefinedProcessExists",
    )
    graph = mean_graph(fmt="JSON")
    graph["total"] = node(
        "reduce_spatial", data=ref("mean"), reducer=child(r=node("mean", data=par("data")))
    )
    graph["save"]["arguments"]["data"] = ref("total")
    plain = http.post("/result", headers=alice, json={"process": {"process_graph": graph}}).json()
    graph["stretched"] = node("stretch", data=ref("mean"))
    graph["total"]["arguments"]["data"] = ref("stretched")
    tripled = http.post("/result", headers=alice, json={"process": {"process_graph": graph}}).json()
    np.testing.assert_allclose(tripled["data"], np.multiply(plain["data"], 3), rtol=1e-5)
    assert http.delete("/process_graphs/stretch", headers=alice).status_code == 204
    response = http.post("/result", headers=alice, json={"process": {"process_graph": graph}})
    assert_error(response, 400, "ProcessUnsupported")


def test_secrets_lie_in_closed_files(service: Running, http: httpx.Client) -> None:
    assert stat.S_IMODE(service.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((service.data_dir / "link.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((service.data_dir / "jobs.sqlite").stat().st_mode) == 0o600


def test_credentials_are_for_jobs_only(
    service: Running, http: httpx.Client, alice: dict[str, str]
) -> None:
    job = create(http, alice)
    root = f"http://127.0.0.1:{service.port}"
    for headers in ({}, {"Authorization": "x"}, alice):
        response = httpx.get(f"{root}/internal/credentials/{job}", headers=headers, trust_env=False)
        assert_error(response, 403, "PermissionsInsufficient")
    # Not below the public prefix, the only thing the proxy knows.
    response = http.get(f"/internal/credentials/{job}", headers=alice)
    assert_error(response, 404, "NotFound")


def test_the_slug_of_a_user_is_in_the_address_of_results() -> None:
    assert user_slug(ALICE) != user_slug(BOB)


def test_configuration_is_checked(tmp_path: Path, service: Running) -> None:
    from cscale_openeo.__main__ import main

    good = json.loads(service.config_file.read_text())
    for change in ({"host": "0.0.0.0"}, {"nonsense": 1}, {"vos": []}, {"s3": {"endpoint": "x"}}):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(good | change))
        assert main(["--config", str(path)]) == 2
