"""The batch script of a job: rendered from the spec, shown to the user, run by Slurm.

The script is safe to submit twice: of two Slurm jobs with the same folder one runs. At its end it
notes the exit status beside its results, for the time when Slurm has forgotten the job. Everything
that comes from the user is quoted by :mod:`shlex`, stands in a quoted here-document, or has a form
that needs no quoting; there is no secret in it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.slurm.options import SlurmOptions, megabytes, resources
from cscale_core.jobs.engines.slurm.process import (
    CommandProcess,
    on_cluster,
    process_of,
    translated,
)
from cscale_core.jobs.engines.slurm.states import NO_CONTAINER, NO_FOLDER, NO_MODULE, TWICE
from cscale_core.jobs.model import JobSpec
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application, ApplicationRun

#: Bytes of a script; Slurm's default of max_script_size is 4 MiB.
LARGEST_SCRIPT = 4 * 1024 * 1024 - 4096
_END = "CSCALE_END_OF_FILE"
_FILLED = re.compile(r"(\{output\}|\{inputs\}|\{task\})")


def job_name(job_id: str) -> str:
    """The name in Slurm by which a job of ours is found again."""
    return f"cscale-{job_id}"


@dataclass(frozen=True)
class Places:
    """Where a job's files are on the cluster; they are absolute and need no quoting.

    :ivar base: the user's working folder, which has to exist before the job starts.
    :ivar output: where the program leaves its results.
    :ivar on_bucket: the ``s3://`` address of ``output`` when it lies on a mounted bucket.
    """

    base: str
    job_id: str
    output: str
    on_bucket: str = ""

    @property
    def work(self) -> str:
        return f"{self.base}/{self.job_id}"

    @property
    def script(self) -> str:
        return f"{self.base}/{job_name(self.job_id)}.sh"

    def stream(self, kind: str, index: str | int | None) -> str:
        """The file of standard output (``out``) or error (``err``), of one task of an array."""
        part = "" if index is None else f"_{index}"
        return f"{self.base}/{job_name(self.job_id)}{part}.{kind}"

    def exit_file(self, index: int | None) -> str:
        """Where the script notes its exit status."""
        return f"{self.work}/exit" + ("" if index is None else f".{index}")


def places(site: Site, cluster: SlurmCluster, job_id: str, vo: str = "") -> Places:
    """Where a job's files are: results on the mounted bucket of the VO, else in its folder.

    :raises InvalidInput: when the user has no place in the VO to put results.
    """
    base = cluster.working_folder(site.user)
    if not cluster.mount:
        return Places(base, job_id, f"{base}/{job_id}/output")
    grant = site.grant("home", vo)
    inside = f"{grant.bucket}/{grant.prefix}jobs/{job_id}"
    return Places(base, job_id, f"{cluster.mount.rstrip('/')}/{inside}", f"s3://{inside}/")


@dataclass(frozen=True)
class Submission:
    """What is given to Slurm: the script, and the same options for the REST API."""

    name: str
    script: str
    options: SlurmOptions
    places: Places
    dependency: str = ""
    environment: Mapping[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    )

    @property
    def stream_pattern(self) -> str | None:
        """What stands for the task in the names of output files, as Slurm fills it in."""
        return "%a" if self.options.array else None


def _word(text: str) -> str:
    """One argument in the shell, with what is filled in when the job runs."""
    pieces = {
        "{output}": '"$CSCALE_OUTPUT"',
        "{inputs}": '"$CSCALE_INPUTS"',
        "{task}": '"${SLURM_ARRAY_TASK_ID:-0}"',
    }
    parts = [pieces.get(part) or shlex.quote(part) for part in _FILLED.split(text) if part]
    return "".join(parts) or "''"


def _file(name: str, content: Any) -> list[str]:
    """Lines that write a JSON file into the job's folder, whole or not at all.

    JSON without line breaks and in ASCII cannot hold the line that ends the here-document.
    """
    part = f'".{name}.$SLURM_JOB_ID"'
    return [f"cat > {part} <<'{_END}'", json.dumps(content), _END, f"mv {part} {name}"]


def _header(submission: Submission) -> list[str]:
    task = submission.stream_pattern
    arguments = [
        f"--job-name={submission.name}",
        f"--output={submission.places.stream('out', task)}",
        f"--error={submission.places.stream('err', task)}",
        *submission.options.directives(),
    ]
    if submission.dependency:
        arguments.append(f"--dependency={submission.dependency}")
    return ["#!/bin/bash", *(f"#SBATCH {argument}" for argument in arguments)]


def _beginning(where: Places) -> list[str]:
    return [
        'export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"',
        f"export CSCALE_JOB_ID={where.job_id}",
        f"export CSCALE_WORK={where.work}",
        f"export CSCALE_OUTPUT={where.output}",
        'export CSCALE_INPUTS="$CSCALE_WORK/inputs.json"',
        f'mkdir -p -- "$CSCALE_WORK" "$CSCALE_OUTPUT" || exit {NO_FOLDER}',
        f'cd -- "$CSCALE_WORK" || exit {NO_FOLDER}',
        "",
        "# Submitted twice, it runs once.",
        'echo "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}" > ".owner.$SLURM_JOB_ID"',
        'ln ".owner.$SLURM_JOB_ID" owner 2> /dev/null',
        'rm -f ".owner.$SLURM_JOB_ID"',
        'if [ "$(cat owner)" != "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}" ]; then',
        '  echo "Slurm job $(cat owner) does this work already" >&2',
        f"  exit {TWICE}",
        "fi",
        "",
        "# How it ended, for when Slurm has forgotten it.",
        'cscale_exit="exit${SLURM_ARRAY_TASK_ID:+.$SLURM_ARRAY_TASK_ID}"',
        'rm -f "$cscale_exit"',
        'cscale_end() { echo "$1" > ".$cscale_exit" && mv ".$cscale_exit" "$cscale_exit"; }',
        "trap 'cscale_end $?' EXIT",
        "",
    ]


def _command(process: CommandProcess, site: Site, cluster: SlurmCluster) -> list[str]:
    lines = []
    if process.modules:
        # Modules are a function of the cluster's profile, which a batch script does not read.
        lines.append("type module > /dev/null 2>&1 || . /etc/profile")
    lines += [f"module load {shlex.quote(name)} || exit {NO_MODULE}" for name in process.modules]
    lines += [f"export {name}={shlex.quote(text)}" for name, text in process.environment.items()]
    words = [_word(on_cluster(argument, site, cluster)) for argument in process.command]
    if process.container:
        image = shlex.quote(on_cluster(process.container, site, cluster))
        lines += [
            "runner=$(command -v apptainer || command -v singularity) || {",
            '  echo "neither apptainer nor singularity is here" >&2',
            f"  exit {NO_CONTAINER}",
            "}",
        ]
        words = [
            '"$runner" exec --bind "$CSCALE_WORK" --bind "$CSCALE_OUTPUT" --pwd "$CSCALE_WORK"',
            image,
            *words,
        ]
    return [*lines, " ".join(words)]


def _application(
    process: NamedApplication,
    spec: JobSpec,
    options: SlurmOptions,
    where: Places,
    site: Site,
    cluster: SlurmCluster,
    applications: Mapping[str, Application],
) -> list[str]:
    if not cluster.python:
        raise InvalidInput(
            f"{cluster.title} runs no named applications.",
            hint="The operator can install cscale-hub[spark] there and name its Python.",
        )
    application = applications[process.application]
    run = ApplicationRun(
        job_id=where.job_id,
        title=spec.title,
        arguments=translated(process.arguments, site, cluster),
        output=where.output + "/",
        collection=options.collection or application.name,
        # Who the user is elsewhere is no business of the cluster's.
        site=site.model_copy(
            update={
                "mount": cluster.mount or site.mount,
                "entitlements": (),
                "providers": (),
                "slurm": (),
            }
        ),
    )
    memory = options.driver_memory or (
        f"{max(512, megabytes(options.memory) * 3 // 4)}m"
        if options.memory
        else site.spark.driver_memory
    )
    spark = (
        f"--master local[${{SLURM_CPUS_PER_TASK:-1}}] --driver-memory {memory}"
        " --conf spark.ui.enabled=false"
    )
    module = f"cscale_core.workflows.{application.main.stem}"
    return [
        *_file("parameters.json", run.model_dump(mode="json")),
        f"export PYSPARK_PYTHON={cluster.python}",
        "export SPARK_LOCAL_IP=127.0.0.1",
        'export SPARK_LOCAL_DIRS="${TMPDIR:-$CSCALE_WORK}"',
        f'export PYSPARK_SUBMIT_ARGS="{spark} pyspark-shell"',
        f'{cluster.python} -m {module} --parameters "$CSCALE_WORK/parameters.json"',
    ]


def submission(
    spec: JobSpec,
    job_id: str,
    site: Site,
    cluster: SlurmCluster,
    *,
    dependency: str = "",
    applications: Mapping[str, Application] = APPLICATIONS,
) -> Submission:
    """What is submitted for a job.

    :param dependency: as sbatch takes it, with Slurm's ids.
    :raises InvalidInput: when the spec is not right, the cluster cannot run it, or the script is
        longer than Slurm takes.
    """
    options = resources(spec.options)
    process = process_of(spec.process, applications)
    where = places(site, cluster, job_id, spec.vo)
    made = Submission(job_name(job_id), "", options, where, dependency)
    title = " ".join("".join(c if c.isprintable() else " " for c in spec.title).split())
    lines = [*_header(made), f"# C-SCALE Hub, job {job_id}: {title}", "", *_beginning(where)]
    if spec.inputs:
        lines += _file("inputs.json", translated(spec.inputs, site, cluster))
    if isinstance(process, CommandProcess):
        lines += _command(process, site, cluster)
    else:
        lines += _application(process, spec, options, where, site, cluster, applications)
    script = "\n".join(lines) + "\n"
    if len(script.encode()) > LARGEST_SCRIPT:
        raise InvalidInput(
            "The job is longer than Slurm takes a script.",
            hint="Give it fewer inputs, or put them in a file on the cluster or in a bucket.",
        )
    return Submission(made.name, script, options, where, dependency)


def render_script(spec: JobSpec, site: Site, cluster: SlurmCluster, job_id: str = "JOB") -> str:
    """The script that would be submitted, to be shown.

    :raises InvalidInput: as :func:`submission`.
    """
    return submission(spec, job_id, site, cluster).script
