"""A program of the user's own, made ready to run on this machine."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from cscale_core.errors import InvalidInput, NotFound
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.jobs.engines.spark.places import View, filled
from cscale_core.jobs.engines.spark.process import Program
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

_PIECE = 64 * 1024 * 1024


def absent_requirements(program: Program) -> list[str]:
    """The requirements that this environment does not fulfil."""
    absent = []
    for text in program.python:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(text)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            absent.append(f"{text} (here is {installed})")
    return absent


@dataclass(frozen=True)
class Prepared:
    """A program with everything on this machine."""

    main: Path
    arguments: list[str]
    py_files: tuple[str, ...]
    jars: tuple[str, ...]
    environment: dict[str, str]
    output: Path


def output_folder(work_dir: Path) -> Path:
    """Where a program leaves its files, before they are brought to the bucket."""
    return work_dir / "output"


def prepare(work: Work, work_dir: Path, site: Site) -> Prepared:
    """Fetch what lies in buckets, write the inputs, fill in the arguments. Blocks.

    :raises NotFound: when a file is not there.
    """
    program = work.process
    assert isinstance(program, Program)  # noqa: S101 - asked for these only
    view = View(site, site.mount if site.mount_mode in ("fuse", "given") else "")
    files = work_dir / "files"
    files.mkdir(exist_ok=True)

    def local(place: str) -> Path:
        return _local(place, view, files, site)

    output = output_folder(work_dir)
    output.mkdir(exist_ok=True)
    inputs = work_dir / "inputs.json"
    inputs.write_text(json.dumps(view.translated(work.spec.inputs)), encoding="utf-8")
    return Prepared(
        main=local(program.main),
        arguments=filled(program.arguments, view, output=str(output), inputs=str(inputs)),
        py_files=tuple(str(local(place)) for place in program.py_files),
        jars=tuple(str(local(place)) for place in program.jars),
        environment={
            **program.environment,
            "CSCALE_OUTPUT": str(output),
            "CSCALE_INPUTS": str(inputs),
            "CSCALE_JOB_ID": work.job.id,
        },
        output=output,
    )


def _local(place: str, view: View, files: Path, site: Site) -> Path:
    """A file on this machine: itself, or a copy of the object that it names."""
    path = Path(view.seen(place))
    if path.is_absolute() and path.is_file():
        return path
    found = view.object(place)
    if found is None:
        raise NotFound(
            f"There is no file {place}.",
            hint="Name it by its whole path on this server, or by its s3:// address in a bucket "
            "of yours.",
        )
    target = files / found.key.rpartition("/")[2]
    store = ObjectStore(site)
    size = store.head(found).size
    with target.open("wb") as file:
        for start in range(0, size, _PIECE):
            file.write(store.get(found, start=start, length=_PIECE))
    return target


def check_requirements(program: Program) -> None:
    """Refuse requirements that would have to be installed.

    :raises InvalidInput: with what is missing.
    """
    absent = absent_requirements(program)
    if absent:
        raise InvalidInput(
            f"On this machine Spark uses the Python of your server, which lacks: "
            f"{', '.join(absent)}.",
            hint="Install it in your environment, give it as py_files, or run the job on a "
            "cluster, where requirements are installed for it.",
            absent=absent,
        )
