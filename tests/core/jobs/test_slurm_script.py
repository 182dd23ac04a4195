"""What is asked of Slurm: options, the process, and the script, rendered without a cluster."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.slurm import script
from cscale_core.jobs.engines.slurm.options import (
    LARGEST_ARRAY,
    duration,
    indexes,
    megabytes,
    minutes,
    resources,
)
from cscale_core.jobs.engines.slurm.process import on_cluster
from cscale_core.jobs.engines.slurm.rest import request_body
from cscale_core.jobs.engines.slurm.script import render_script, submission
from cscale_core.jobs.model import JobSpec
from cscale_core.site import Site

JOB = "j-260101120000-0123abcd"


def cluster(**changes: Any) -> SlurmCluster:
    members = {"id": "c", "title": "C", "kind": "ssh", "host": "login", "folder": "/scratch/{user}"}
    return SlurmCluster.model_validate({**members, **changes})


def spec(process: dict[str, Any], **changes: Any) -> JobSpec:
    return JobSpec.model_validate({"engine": "slurm", "process": process, **changes})


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (90, 90),
        ("90", 90),
        ("1:30", 2),
        ("1:00:00", 60),
        ("0:59:01", 60),
        ("1-0", 1440),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("1-00:00:30", 1441),
    ],
)
def test_times_are_read_as_sbatch_reads_them(text: str | int, expected: int) -> None:
    assert minutes(text) == expected
    assert minutes(duration(expected)) == expected


@given(st.integers(1, 10_000_000))
def test_a_written_time_is_read_as_the_same(total: int) -> None:
    assert minutes(duration(total)) == total


@given(st.text(max_size=12))
def test_every_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert minutes(text) >= 1
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "expected"), [(4000, 4000), ("512M", 512), ("8G", 8192), ("1T", 2**20), ("2000K", 2)]
)
def test_memory_is_megabytes(text: str | int, expected: int) -> None:
    assert megabytes(text) == expected


def test_arrays_are_counted() -> None:
    assert indexes("0-9%4") == list(range(10))
    assert indexes("1,3,5-9:2") == [1, 3, 5, 7, 9]
    for wrong in ("", "9-1", "a", "1-", "1%0", "1--2", f"0-{LARGEST_ARRAY}", "1-5:0"):
        with pytest.raises(ValueError):
            indexes(wrong)


def test_dependencies_are_conditions_on_jobs_by_our_id_or_slurms() -> None:
    assert resources({"dependency": f"afterok:12:{JOB},afterany:7_3"}).dependency == {
        "afterok": ["12", JOB],
        "afterany": ["7_3"],
    }
    assert resources({"dependency": {"afterok": JOB}}).dependency == {"afterok": [JOB]}


@pytest.mark.parametrize(
    "options",
    [
        {"partition": "a b"},
        {"partition": "-p"},
        {"account": "x;rm"},
        {"qos": "$(id)"},
        {"constraint": "a b"},
        {"reservation": "a\nb"},
        {"time": "soon"},
        {"time": 0},
        {"memory": "lots"},
        {"memory": "1G", "memory_per_cpu": "1G"},
        {"cpus": 0},
        {"gpus": "a100"},
        {"array": "1;2"},
        {"array": "0-9\n"},
        {"dependency": {"afterok": ["12\n"]}},
        {"dependency": "singleton"},
        {"dependency": "afterok"},
        {"dependency": {"afterok": ["1;2"]}},
        {"dependency": {"afterok": []}},
        {"nodelist": "n1"},
        {"time": True},
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="options for Slurm"):
        resources(options)


@given(
    st.dictionaries(
        st.sampled_from(
            ["partition", "account", "qos", "reservation", "constraint", "gpus", "array", "time"]
        ),
        st.text(max_size=20),
    )
)
def test_an_option_that_is_taken_needs_no_quoting(options: dict[str, str]) -> None:
    try:
        arguments = resources(options).directives()
    except InvalidInput:
        return
    for argument in arguments:
        assert re.fullmatch(r"--[a-z-]+(=[A-Za-z0-9_.,:%&|()\[\]*-]+)?", argument)


# -- the process --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "process",
    [
        {},
        {"command": []},
        {"command": [""]},
        {"command": ["a\0b"]},
        {"command": "ls"},
        {"command": ["ls"], "modules": ["a b"]},
        {"command": ["ls"], "modules": ["-u"]},
        {"command": ["ls"], "container": "--help"},
        {"command": ["ls"], "environment": {"a b": "c"}},
        {"command": ["ls"], "environment": {"MY_TOKEN": "c"}},
        {"command": ["ls"], "environment": {"AWS_SECRET_ACCESS_KEY": "c"}},
        {"command": ["ls"], "script": "x"},
        {"application": "aqua-monitor", "command": ["ls"]},
        {"application": "nothing"},
    ],
)
def test_what_is_no_process_is_refused(process: dict[str, Any], make_site: Any) -> None:
    with pytest.raises(InvalidInput):
        render_script(spec(process), make_site(), cluster())


def test_named_application_needs_a_python_on_the_cluster(
    make_site: Callable[..., Site], aqua: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="no named applications"):
        render_script(spec(aqua), make_site(), cluster())


@pytest.fixture
def aqua() -> dict[str, Any]:
    item = {
        "id": "S1",
        "collection": "c",
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "assets": {
            band: {"href": f"s3://vobucket/products/S1/{band}.tif"}
            for band in ("B11", "B08", "B03")
        },
    }
    parameters = {
        "bbox": [0, 0, 1, 1],
        "intervals": [["2019-01-01", "2020-01-01"], ["2020-01-01", "2021-01-01"]],
        "collection": "c",
    }
    return {
        "application": "aqua-monitor",
        "arguments": {"parameters": parameters, "items": [item]},
    }


def test_named_application_gets_its_parameters_with_the_clusters_addresses(
    make_site: Callable[..., Site], aqua: dict[str, Any]
) -> None:
    site = make_site(entitlements=["urn:a:b"])
    there = cluster(python="/sw/python", mount="/ceph")
    text = render_script(spec(aqua, options={"memory": "8G", "cpus": 4}), site, there, JOB)
    body = text.partition("<<'CSCALE_END_OF_FILE'\n")[2].partition("\nCSCALE_END_OF_FILE\n")[0]
    run = json.loads(body)
    (item,) = run["arguments"]["items"]
    assert item["assets"]["B11"]["href"] == "/ceph/vobucket/products/S1/B11.tif"
    assert run["output"] == f"/ceph/vobucket/users/utest/jobs/{JOB}/"
    assert run["site"]["mount"] == "/ceph"
    assert run["site"]["entitlements"] == []
    assert "--driver-memory 6144m" in text
    assert "local[${SLURM_CPUS_PER_TASK:-1}]" in text
    assert "/sw/python -m cscale_core.workflows.aqua_monitor_spark --parameters" in text


def test_our_three_addresses_become_paths_of_a_cluster_that_mounts_the_buckets(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    there = cluster(mount="/ceph/s3")
    for address in (
        "s3://vobucket/a/b.tif",
        "http://127.0.0.1:9/vobucket/a/b.tif",
        "/s3/vobucket/a/b.tif",
        "/home/test/s3/vobucket/a/b.tif",
    ):
        assert on_cluster(address, site, there) == "/ceph/s3/vobucket/a/b.tif"
        assert on_cluster(address, site, cluster()) == address
    for other in ("s3://public/x", "s3://vobucket/../x", "/etc/passwd", "http://[", "-x", ""):
        assert on_cluster(other, site, there) == other


# -- the script ---------------------------------------------------------------------------------


def run_script(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a rendered script as Slurm would."""
    return subprocess.run(
        ["bash", "-c", text],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "SLURM_JOB_ID": "1", **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


#: Anything but NUL and lone surrogates, which no program can be given.
ARGUMENT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60
).filter(lambda text: not re.search(r"\{(output|inputs|task)\}", text))


@given(st.lists(ARGUMENT, min_size=1, max_size=8))
def test_every_argument_reaches_the_program_as_it_is(arguments: list[str]) -> None:
    words = " ".join(script._word(argument) for argument in arguments)
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == arguments


@given(st.lists(ARGUMENT, max_size=4), ARGUMENT, st.text(max_size=80))
def test_script_has_no_directive_and_no_line_that_was_not_meant(
    arguments: list[str], value: str, title: str
) -> None:
    site = Site.model_validate(
        {
            "user": "u",
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": "http://127.0.0.1:9"},
        }
    )
    asked = spec(
        {"command": ["prog", *arguments], "environment": {"NAME": value}}, title=title[:200]
    )
    text = render_script(asked, site, cluster(), JOB)
    head = text.partition("\n# C-SCALE Hub")[0].splitlines()
    assert head[0] == "#!/bin/bash"
    assert [line for line in head[1:] if not line.startswith("#SBATCH --")] == []
    assert len(head) == 4
    # Slurm reads directives up to the first line that is a command.
    after = text.partition("\n# C-SCALE Hub")[2].partition("\nexport HOME=")
    assert "\n#SBATCH" not in after[0]
    assert subprocess.run(["bash", "-n"], input=text.encode(), check=True).returncode == 0


def test_script_runs_in_its_folder_and_fills_in_what_is_asked(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    program = 'printf "%s|" "$PWD" "$NAME" "$@"; cat "$CSCALE_INPUTS"'
    asked = spec(
        {
            "command": ["bash", "-c", program, "x", "{output}/a b", "n={task}", "{inputs}", "{o}"],
            "environment": {"NAME": "it's"},
        },
        inputs=[{"id": "S1"}],
    )
    text = render_script(asked, make_site(), cluster(folder=str(tmp_path)), JOB)
    done = run_script(text, tmp_path, SLURM_ARRAY_JOB_ID="1", SLURM_ARRAY_TASK_ID="7")
    work = tmp_path / JOB
    assert done.stdout.decode() == (
        f"{work}|it's|{work}/output/a b|n=7|{work}/inputs.json|{{o}}|" + '[{"id": "S1"}]\n'
    ), done.stderr
    assert (work / "exit.7").read_text() == "0\n"


def test_script_of_a_second_submission_does_nothing(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    asked = spec({"command": ["bash", "-c", "echo ran; exit 5"]})
    text = render_script(asked, make_site(), cluster(folder=str(tmp_path)), JOB)
    assert run_script(text, tmp_path).returncode == 5
    assert (tmp_path / JOB / "exit").read_text() == "5\n"
    second = run_script(text, tmp_path, SLURM_JOB_ID="2")
    assert (second.returncode, second.stdout) == (73, b"")
    assert b"Slurm job 1 does this work already" in second.stderr
    # The same job, started again by Slurm, is no second submission.
    assert run_script(text, tmp_path).stdout == b"ran\n"


def test_modules_that_are_not_there_and_containers_end_it(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    site, there = make_site(), cluster(folder=str(tmp_path))
    asked = spec({"command": ["true"], "modules": ["gdal/3.8"]})
    done = run_script(render_script(asked, site, there, JOB), tmp_path)
    assert done.returncode == 75
    asked = spec({"command": ["echo", "a b"], "container": "docker://x/y:1"})
    text = render_script(asked, site, there, JOB)
    assert run_script(text, tmp_path, PATH="/nowhere:/usr/bin:/bin").returncode == 76
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "apptainer"
    fake.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    fake.chmod(0o755)
    done = run_script(text, tmp_path, PATH=f"{tmp_path}/bin:/usr/bin:/bin")
    work = tmp_path / JOB
    assert done.stdout.decode() == (
        f"exec|--bind|{work}|--bind|{work}/output|--pwd|{work}|docker://x/y:1|echo|a b|"
    )


def test_script_that_slurm_would_not_take_is_refused(make_site: Callable[..., Site]) -> None:
    asked = spec({"command": ["echo", *["x" * 100_000] * 50]})
    with pytest.raises(InvalidInput, match="longer than Slurm takes"):
        render_script(asked, make_site(), cluster())


# -- the same for slurmrestd --------------------------------------------------------------------

OPTIONS = {
    "partition": "p",
    "account": "a",
    "time": "1:00:00",
    "memory": "2G",
    "cpus": 4,
    "tasks": 2,
    "nodes": 1,
    "gpus": "a100:2",
    "array": "0-3%2",
    "requeue": False,
}


def body(version: int, make_site: Callable[..., Site]) -> dict[str, Any]:
    asked = spec({"command": ["true"]}, options=OPTIONS)
    made = submission(asked, JOB, make_site(), cluster(), dependency="afterok:5")
    job: dict[str, Any] = request_body(made, version)["job"]
    return job


def test_options_for_the_older_api(make_site: Callable[..., Site]) -> None:
    job = body(38, make_site)
    assert job["time_limit"] == 60
    assert job["memory_per_node"] == 2048
    assert job["gres"] == "gpu:a100:2"
    assert job["environment"]["PATH"]
    assert job["no_requeue"] is True
    assert "requeue" not in job
    assert (job["nodes"], job["dependency"], job["array"]) == ("1", "afterok:5", "0-3%2")
    assert job["standard_output"] == f"/scratch/utest/cscale-{JOB}_%a.out"


def test_options_for_the_newer_api(make_site: Callable[..., Site]) -> None:
    job = body(41, make_site)
    assert job["time_limit"] == {"set": True, "number": 60}
    assert job["memory_per_node"] == {"set": True, "number": 2048}
    assert job["tres_per_node"] == "gres/gpu:a100:2"
    assert job["environment"][0].startswith("PATH=")
    assert job["requeue"] is False
