"""Jobs through the hub: Spark's own pages, canceling, credentials in a kernel."""

from __future__ import annotations

import pytest

from cscale_cli.demo.session import HubSession
from cscale_core.client import Job, JobFailed
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.workflows.aqua_monitor import AquaMonitorParameters
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from tests.waiting import until

BANDS = ["B11", "B08", "B03"]


@pytest.fixture(scope="module")
def staged(researcher: HubSession) -> list[dict]:
    """Scenes of every year, staged but not registered."""
    workspace = researcher.workspace
    found = workspace.search(
        bbox=list(simulate.BBOX),
        collections=[simulate.COLLECTION],
        limit=100,
        providers=["site-b"],
        max_cloud_cover=20,
    )["items"]
    items: list[dict] = workspace.stage(found, BANDS, register=False).wait().results().items
    assert {item["properties"]["datetime"][:4] for item in items} == {"2019", "2020", "2021"}
    return items


def spark_job(researcher: HubSession, items: list[dict]) -> Job:
    years = ("2019", "2020", "2021")
    parameters = AquaMonitorParameters.model_validate(
        {
            "bbox": list(simulate.BBOX),
            "intervals": [[f"{year}-01-01", f"{int(year) + 1}-01-01"] for year in years],
            "min_images": 1,
            "collection": simulate.COLLECTION,
            "bands": BANDS,
        }
    )
    return researcher.workspace.jobs.spark(
        "aqua-monitor",
        parameters=parameters.model_dump(mode="json"),
        items=items,
        title="Test",
    )


@pytest.mark.spark
def test_sparks_pages_are_behind_the_hub_and_only_for_their_owner(
    federation: Federation, researcher: HubSession, staged: list[dict]
) -> None:
    job = spark_job(researcher, staged)

    def page() -> str:
        job.refresh()
        assert not job.ended, f"it ended before its pages were seen: {job.error}"
        return researcher.get(f"{federation.hub_url}{job.ui_path}").text if job.ui_path else ""

    text = until(page, "Spark's page", 120, fits=lambda shown: "Spark Jobs" in shown)
    path = job.ui_path
    assert path.startswith(f"/user/{researcher.user}/proxy/")
    assert f'href="/user/{researcher.user}/proxy/' in text
    with HubSession(federation.hub_url) as stranger:
        stranger.sign_in("water", federation.passwords["water"])
        assert stranger.get(f"{federation.hub_url}{path}").status_code in (403, 404)
    assert job.wait().results()[0]["assets"]


@pytest.mark.spark
def test_canceled_job_ends_and_stays_canceled(researcher: HubSession, staged: list[dict]) -> None:
    job = spark_job(researcher, staged)
    until(lambda: job.refresh().status == "running", "a running job")
    job.cancel()
    with pytest.raises(JobFailed, match="canceled"):
        job.wait()


def test_kernel_has_credentials_that_nobody_wrote_down(researcher: HubSession) -> None:
    """boto3 and GDAL find them by the standard chain; no key is in the environment."""
    printed = researcher.run_in_kernel(
        "import os, boto3\n"
        "print([n for n in os.environ if n in ('AWS_ACCESS_KEY_ID', 'AWS_SESSION_TOKEN')])\n"
        "s3 = boto3.client('s3')\n"
        f"home = 'users/{researcher.user}/'\n"
        "s3.put_object(Bucket='aquamonitor', Key=home + 'note.txt', Body=b'hello')\n"
        "print(s3.get_object(Bucket='aquamonitor', Key=home + 'note.txt')['Body'].read())\n"
        "for bucket, key in (('waterwatch', 'products/x'), ('aquamonitor', 'users/other/x')):\n"
        "    try:\n"
        "        s3.put_object(Bucket=bucket, Key=key, Body=b'x')\n"
        "        print('WRITTEN')\n"
        "    except s3.exceptions.ClientError as error:\n"
        "        print(error.response['Error']['Code'])\n"
    )
    assert printed.splitlines() == ["[]", "b'hello'", "AccessDenied", "AccessDenied"]


@pytest.mark.parametrize(
    ("engine", "process"),
    [
        ("spark", {"application": "rm -rf", "arguments": {}}),
        ("spark", {"application": "aqua-monitor", "arguments": {"parameters": {}}}),
        ("openeo", {"process_graph": "no graph"}),
        ("slurm", {}),
    ],
)
def test_job_that_cannot_be_right_is_refused_before_it_is_one(
    researcher: HubSession, engine: str, process: dict
) -> None:
    before = len(researcher.workspace.jobs.list())
    with pytest.raises(InvalidInput):
        researcher.workspace.jobs.submit(engine, process)
    assert len(researcher.workspace.jobs.list()) == before


def test_unknown_job_is_not_found(researcher: HubSession) -> None:
    with pytest.raises(NotFound):
        researcher.workspace.jobs["j-000000-nobody"]
