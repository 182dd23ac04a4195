"""``cscale deploy``: render, check, diff and apply the deployment of a site, move its volumes.

Exit status: 0 when all is well, 1 when something was found (errors of ``check``, differences of
``diff``), 2 when it could not be done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from cscale_cli.deploy import moving
from cscale_cli.deploy.checking import Finding, check, hub_settings, own_values
from cscale_cli.deploy.helm import Cluster, Helm, Kubectl
from cscale_cli.deploy.manifests import difference
from cscale_cli.deploy.moving_job import Links, job, move_of
from cscale_cli.deploy.releases import Release, releases
from cscale_cli.deploy.values import ValueFiles, chosen
from cscale_cli.terminal import written
from cscale_core.errors import CScaleError, InvalidInput
from cscale_core.untrusted import plain

_FOUND = 1
_NOT_DONE = 2
_STYLES = {"error": "red", "remark": "yellow"}

Site = Annotated[str, typer.Argument(help="Name of a file in sites/, without .yaml.")]
Folder = Annotated[Path, typer.Option(help="The folder of the value files.")]
Values = Annotated[
    list[Path] | None,
    typer.Option("--values", "-f", help="A value file after all others; may be repeated."),
]
Charts = Annotated[
    list[str] | None,
    typer.Option(
        "--chart", help="NAME=PATH: take a chart from here, not its repository; may be repeated."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="This release and no other; may be repeated."),
]
Kubeconfig = Annotated[str, typer.Option(help="Login of the cluster; default: helm's own.")]
Context = Annotated[str, typer.Option(help="Context of it; default: its current one.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
KubeVersion = Annotated[str, typer.Option(help="Version of Kubernetes to render for.")]
_FOLDER = Path("helm-values")


def register(app: typer.Typer) -> None:
    """Add ``deploy`` to the command line."""
    group = typer.Typer(
        name="deploy",
        no_args_is_help=True,
        help="The hub and its companions on Kubernetes, by helm and the value files of a site.",
    )
    group.command("render")(render)
    group.command("check")(check_site)
    group.command("diff")(diff)
    group.command("apply")(apply)
    group.command("move")(move)
    app.add_typer(group)


def render(
    site: Site,
    folder: Folder = _FOLDER,
    values: Values = None,
    chart: Charts = None,
    only: Only = None,
    kube_version: KubeVersion = "",
    output: Annotated[
        Path | None, typer.Option(help="Write a file for each release into this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what would be applied, without asking a cluster."""
    with _explained(as_json):
        _, planned = _stack(site, folder, values, chart, only)
        helm = Helm()
        texts = {each.name: helm.template(each, kube_version) for each in planned}
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (output / f"{name}.yaml").write_text(text, encoding="utf-8")
        if as_json:
            files = {} if output is None else {name: str(output / f"{name}.yaml") for name in texts}
            typer.echo(json.dumps({"releases": [_told(each) for each in planned], "files": files}))
        elif output is None:
            typer.echo("\n".join(texts.values()))


def check_site(
    site: Site,
    folder: Folder = _FOLDER,
    values: Values = None,
    chart: Charts = None,
    only: Only = None,
    kube_version: KubeVersion = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also ask the cluster for the Secrets.")
    ] = False,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    as_json: AsJson = False,
) -> None:
    """Say what is wrong: values against every schema, security, Secrets that have to be there."""
    with _explained(as_json):
        chosen_values, planned = _stack(site, folder, values, chart, only)
        helm = Helm()
        asked = Kubectl(Cluster(kubeconfig, context)).secret_keys if cluster else None
        found = check(chosen_values, planned, lambda each: helm.template(each, kube_version), asked)
        _show_findings(found, as_json=as_json)
        if any(each.level == "error" for each in found):
            raise typer.Exit(_FOUND)


def diff(
    site: Site,
    folder: Folder = _FOLDER,
    values: Values = None,
    chart: Charts = None,
    only: Only = None,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    as_json: AsJson = False,
) -> None:
    """Show what apply would change in the cluster; the content of Secrets is never shown."""
    with _explained(as_json):
        _, planned = _stack(site, folder, values, chart, only)
        helm = Helm(Cluster(kubeconfig, context))
        changes = {
            each.name: difference(helm.installed(each), helm.planned(each)) for each in planned
        }
        if as_json:
            typer.echo(json.dumps(changes))
        else:
            for name, lines in changes.items():
                _show_difference(name, lines)
        if any(changes.values()):
            raise typer.Exit(_FOUND)


def apply(
    site: Site,
    folder: Folder = _FOLDER,
    values: Values = None,
    chart: Charts = None,
    only: Only = None,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    timeout: Annotated[str, typer.Option(help="How long each release may take to run.")] = "15m",
    as_json: AsJson = False,
) -> None:
    """Check, then install or upgrade each release in its order, waiting until it runs."""
    with _explained(as_json):
        chosen_values, planned = _stack(site, folder, values, chart, only)
        cluster = Cluster(kubeconfig, context)
        helm = Helm(cluster)
        found = check(chosen_values, planned, helm.template, Kubectl(cluster).secret_keys)
        if any(each.level == "error" for each in found):
            _show_findings(found, as_json=as_json)
            raise typer.Exit(_FOUND)
        side = Console(stderr=True)
        done = []
        for number, release in enumerate(planned, 1):
            side.print(written(f"[{number}/{len(planned)}] {release.name} in {release.namespace}"))
            began = time.monotonic()
            helm.upgrade(release, timeout)
            done.append({**_told(release), "seconds": round(time.monotonic() - began, 1)})
        if as_json:
            typer.echo(json.dumps({"releases": done}))


def move(
    site: Site,
    bucket: Annotated[str, typer.Argument(help="The bucket that gets the files.")],
    claim: Annotated[str, typer.Option(help="The PersistentVolumeClaim that has them.")],
    folder: Folder = _FOLDER,
    values: Values = None,
    final: Annotated[
        bool,
        typer.Option("--final", help="The last pass: refused while a pod still has the claim."),
    ] = False,
    links: Annotated[
        str,
        typer.Option(help="Symbolic links: refuse, or follow and copy what they lead to."),
    ] = "refuse",
    end: Annotated[
        bool, typer.Option("--cancel", help="End the copy; what was copied stays.")
    ] = False,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    as_json: AsJson = False,
) -> None:
    """Copy a volume's files into a bucket and compare them; neither loses anything.

    A pass while people work copies most of it; the last one (--final), without servers, the rest.
    """
    with _explained(as_json):
        if links not in get_args(Links):
            raise InvalidInput(f"--links is refuse or follow, not {links}.")
        found = chosen(folder, site, values or ())
        own, settings = own_values(found), hub_settings(found)
        meant = move_of(own, settings, bucket, claim, cast(Links, links))
        kubectl = Kubectl(Cluster(kubeconfig, context))
        if end:
            moving.cancel(kubectl, meant)
            return
        side = Console(stderr=True)
        moving.begin(kubectl, meant, job(meant, own, settings), final=final)
        moved = moving.follow(kubectl, meant, lambda line: side.print(written(plain(line))))
        if as_json:
            typer.echo(json.dumps(moving.as_dict(meant, moved, final=final)))
            return
        console = Console()
        console.print(
            written(f"{moved.files} files are in the bucket {bucket} as they are in {claim}."),
            *([written(f"{moved.more} other objects were left.")] if moved.more else ()),
            soft_wrap=True,
        )
        after = (
            f"Now give {bucket} another mode than csi with {claim} "
            "(custom.cscale.settings.kubernetes.buckets), and apply; keep the claim until people "
            "have worked with the bucket."
            if final
            else "Stop the servers that have the claim, and call this again with --final."
        )
        console.print(written(after), soft_wrap=True)


def _stack(
    site: str,
    folder: Path,
    values: Sequence[Path] | None,
    charts: Sequence[str] | None,
    only: Sequence[str] | None,
) -> tuple[ValueFiles, tuple[Release, ...]]:
    """The values and the releases that are meant.

    :raises InvalidInput: when something of it is not there or not valid.
    """
    found = chosen(folder, site, values or ())
    planned = releases(found, own_values(found).deployment, dict(_paths(charts or ())))
    names = {each.name for each in planned}
    if unknown := sorted(set(only or ()) - names):
        raise InvalidInput(
            f"There is no release {', '.join(unknown)} here.",
            hint=f"There are {', '.join(sorted(names))}.",
        )
    return found, tuple(each for each in planned if not only or each.name in only)


def _paths(charts: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for text in charts:
        name, _, path = text.partition("=")
        if not path or not Path(path).exists():
            raise InvalidInput(f"--chart {text} is not NAME=PATH of a chart that is there.")
        yield name, Path(path)


def _told(release: Release) -> dict[str, str]:
    return {
        "name": release.name,
        "namespace": release.namespace,
        "chart": release.chart,
        "version": release.version,
    }


def _show_findings(found: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in found]))
        return
    console = Console()
    for each in found:
        style = _STYLES[each.level]
        console.print(
            written(each.level, style), written(f"{each.where}: {each.text}"), soft_wrap=True
        )
    errors = sum(each.level == "error" for each in found)
    console.print(f"{errors} errors, {len(found) - errors} remarks")


def _show_difference(name: str, lines: Sequence[str]) -> None:
    console = Console()
    console.print(written(f"{name}: {'changes' if lines else 'as it is'}", "bold"))
    for line in lines:
        style = {"+": "green", "-": "red"}.get(line[:1], "")
        console.print(written(line, style), soft_wrap=True)


@contextmanager
def _explained(as_json: bool) -> Iterator[None]:
    """Say what is wrong on the terminal, and as a problem to a program."""
    try:
        yield
    except CScaleError as error:
        side = Console(stderr=True)
        side.print("[red]✗[/]", written(error.message), soft_wrap=True)
        if error.hint:
            side.print(f"  {plain(error.hint)}", markup=False, highlight=False, soft_wrap=True)
        if as_json:
            typer.echo(json.dumps(error.as_dict()))
        raise typer.Exit(_NOT_DONE) from error
