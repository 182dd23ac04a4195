"""The programs of the local federation: their configuration files and how each is asked for health.

One function per service turns settings, ports and VOs into the configuration the service itself
validates; :func:`write_programs` writes those files and what the launcher needs to start them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cscale_core.clusters import SlurmCluster
from cscale_core.providers import Provider
from cscale_hub.audit import audit_file
from cscale_hub.broker.config import BrokerConfig, S3Access
from cscale_hub.local.archive.config import ArchiveConfig
from cscale_hub.local.catalogue.config import CatalogueConfig, WriterRule
from cscale_hub.local.issuer.config import (
    DEVICE_CODE_GRANT,
    TOKEN_EXCHANGE_GRANT,
    ClientConfig,
    IssuerConfig,
)
from cscale_hub.local.layout import Layout
from cscale_hub.local.people import users_file
from cscale_hub.local.seaweedfs.config import (
    OPENEO_ROLE,
    RESEARCHER_ROLE,
    Ports,
    SeaweedConfig,
)
from cscale_hub.local.secrets import ensure_secret, write_secret
from cscale_hub.local.slurm.config import PATH_PATTERN, SlurmConfig
from cscale_hub.local.system import memory_bytes, slurm
from cscale_hub.settings import OpenEOSettings, ServiceSettings, Settings, dump_settings
from cscale_hub.spawn.site import registry, searched
from cscale_hub.vo_model import VOFile

REALM = "/auth/realms/egi"
HUB_CLIENT = "cscale-hub"
OPENEO_CLIENT = "cscale-openeo"
OPENEO_SERVICE_CLIENT = "cscale-openeo-service"
SITE_B, SITE_C = "site-b", "site-c"

PORT_NAMES = (
    "hub",
    "hub-api",
    "proxy-api",
    "issuer",
    "s3",
    "s3-grpc",
    "s3-master",
    "s3-master-grpc",
    "s3-volume",
    "s3-volume-grpc",
    "s3-filer",
    "s3-filer-grpc",
    "catalogue",
    SITE_B,
    SITE_C,
    "mqs",
    "openeo",
    "broker",
    "slurm",
    "slurm-controller",
    "slurm-node",
)
SECRET_NAMES = (
    "auth-state-key",
    "cookie-secret",
    "proxy-token",
    "operator-token",
    "client-cscale-hub",
    "client-cscale-openeo-service",
)
# Three lines on purpose: everything is decided in the package. hub/jupyterhub_config.py is the
# same text.
HUB_CONFIG = """\
from cscale_hub.configure import configure
from cscale_hub.settings import load_settings

configure(get_config(), load_settings())  # type: ignore[name-defined]  # noqa: F821
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How this federation differs from the default one."""

    archive_root: Path | None = None
    archive_title: str = "Archive of site B"
    extra_providers: tuple[Provider, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    token_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class Program:
    """One program the launcher keeps running.

    ``health`` is asked without authentication and answers 200 when the program is of use.
    """

    name: str
    title: str
    module: str
    port: int
    health: str
    config: BaseModel | dict[str, Any]
    routed: bool = False
    grace: int = 8

    def content(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        if isinstance(self.config, BaseModel):
            return self.config.model_dump(mode="json")
        return self.config

    def config_file(self, layout: Layout) -> Path:
        return layout.config / f"{self.name}.json"


def archive_folder(layout: Layout, wishes: Wishes) -> Path:
    """Where site B's scenes are."""
    return wishes.archive_root or layout.service("archive") / "scenes"


def ensure_secrets(layout: Layout) -> None:
    """Make the secrets that are not there yet."""
    for name in SECRET_NAMES:
        ensure_secret(layout.secrets / name)


def unavailable(layout: Layout) -> dict[str, str]:
    """The services that this machine cannot run, and in one line why."""
    offer = slurm()
    if not offer.present:
        return {"slurm": f"Without {offer.name}: {offer.detail}; it would add {offer.adds}"}
    if not re.fullmatch(PATH_PATTERN, str(layout.data)):
        return {
            "slurm": f"Without {offer.name}: its files cannot have the path {layout.data}; use a "
            "data folder of plain letters, digits and ._/+@=-"
        }
    return {}


def resolved_settings(settings: Settings, ports: Mapping[str, int], wishes: Wishes) -> Settings:
    """The settings with the addresses of the local services in them."""
    hub_url = f"http://127.0.0.1:{ports['hub']}"
    layout = Layout(settings.data)
    own = [
        Provider(
            id=SITE_B,
            title=wishes.archive_title,
            url=f"http://127.0.0.1:{ports[SITE_B]}",
        ),
        Provider(
            id=SITE_C,
            title="Archive of site C (down)",
            url=f"http://127.0.0.1:{ports[SITE_C]}",
        ),
    ]
    hosts = [f"127.0.0.1:{ports[name]}" for name in ("hub", "s3", SITE_B, SITE_C)]
    services = [
        ServiceSettings(name=name, port=ports[name], routed=name in ROUTED)
        for name in SERVICES
        if name not in wishes.without
    ]
    identity = settings.identity.model_copy(
        update={
            "issuer": f"http://127.0.0.1:{ports['issuer']}{REALM}",
            "label": "EGI Check-in (demonstration)",
            "client_id": HUB_CLIENT,
            "client_secret_file": layout.secrets / "client-cscale-hub",
        }
    )
    openeo = OpenEOSettings(
        id="openeo",
        title="openEO on Spark",
        url=f"{hub_url}/services/openeo",
        audience="openeo",
        every=2.0,
    )
    clusters = settings.slurm
    if any(service.name == "slurm" for service in services):
        clusters = (_local_cluster(layout, ports), *clusters)
    return settings.model_copy(
        update={
            "hub": settings.hub.model_copy(
                update={
                    "port": ports["hub"],
                    "api_port": ports["hub-api"],
                    "proxy_api_port": ports["proxy-api"],
                }
            ),
            "identity": identity,
            "storage": settings.storage.model_copy(
                update={"endpoint": f"http://127.0.0.1:{ports['s3']}"}
            ),
            "catalogue": settings.catalogue.model_copy(
                update={"url": f"{hub_url}/services/catalogue"}
            ),
            "providers": (*own, *settings.providers, *wishes.extra_providers),
            "openeo": (openeo, *settings.openeo),
            "slurm": clusters,
            "broker": settings.broker.model_copy(update={"url": f"{hub_url}/services/broker"}),
            "allowed_hosts": (*hosts, *settings.allowed_hosts, *wishes.extra_hosts),
            "services": tuple(services),
        }
    )


def _slurm(layout: Layout, ports: Mapping[str, int]) -> SlurmConfig:
    return SlurmConfig(
        port=ports["slurm"],
        controller_port=ports["slurm-controller"],
        node_port=ports["slurm-node"],
        data_dir=layout.service("slurm"),
        cpus=os.cpu_count() or 1,
        memory_mb=max(100, memory_bytes() // 2**20),
    )


def _local_cluster(layout: Layout, ports: Mapping[str, int]) -> SlurmCluster:
    """Our own cluster as users' servers reach it; see :mod:`cscale_hub.local.slurm` for who may."""
    config = _slurm(layout, ports)
    return SlurmCluster(
        id="slurm",
        title="Slurm of this machine",
        kind="rest",
        url=f"unix:{config.rest_socket}",
        folder=str(config.work_dir),
        local_folder=str(config.work_dir),
    )


def _issuer(settings: Settings, layout: Layout, port: int, token_seconds: int) -> IssuerConfig:
    hub_url = f"http://127.0.0.1:{settings.hub.port}"
    return IssuerConfig(
        port=port,
        realm_path=REALM,
        data_dir=layout.service("issuer"),
        users_file=users_file(layout),
        access_token_seconds=token_seconds,
        clients=(
            ClientConfig(
                client_id=HUB_CLIENT,
                title=settings.hub.title,
                secret_file=layout.secrets / "client-cscale-hub",
                redirect_uris=(f"{hub_url}/hub/oauth_callback",),
                post_logout_redirect_uris=(f"{hub_url}/hub/login",),
                grant_types=("authorization_code", "refresh_token", TOKEN_EXCHANGE_GRANT),
                audiences=("s3", "openeo", "catalogue"),
            ),
            ClientConfig(
                client_id=OPENEO_CLIENT,
                title="openEO clients",
                grant_types=(DEVICE_CODE_GRANT, "refresh_token"),
                token_audience=("openeo",),
            ),
            ClientConfig(
                client_id=OPENEO_SERVICE_CLIENT,
                title="openEO on Spark",
                secret_file=layout.secrets / "client-cscale-openeo-service",
                grant_types=("client_credentials", TOKEN_EXCHANGE_GRANT),
                audiences=("s3", "catalogue"),
                exchanges_for=("openeo",),
            ),
        ),
    )


def _endpoint(settings: Settings, name: str) -> str:
    return f"{settings.identity.issuer}/protocol/openid-connect/{name}"


def _s3(settings: Settings, vos: VOFile, layout: Layout, ports: Mapping[str, int]) -> SeaweedConfig:
    inner = ("grpc", "master", "master-grpc", "volume", "volume-grpc", "filer", "filer-grpc")
    keys = ("s3_grpc", *(name.replace("-", "_") for name in inner[1:]))
    return SeaweedConfig(
        port=ports["s3"],
        ports=Ports(**{key: ports[f"s3-{name}"] for key, name in zip(keys, inner, strict=True)}),
        data_dir=layout.service("s3"),
        secrets_dir=layout.secrets / "s3",
        issuer=settings.identity.issuer,
        jwks_url=_endpoint(settings, "certs"),
        researcher_clients=(HUB_CLIENT,),
        openeo_clients=(OPENEO_SERVICE_CLIENT,),
        vos=vos.storages(),
    )


def _catalogue(settings: Settings, vos: VOFile, layout: Layout, port: int) -> CatalogueConfig:
    return CatalogueConfig(
        port=port,
        prefix="/services/catalogue",
        public_url=settings.catalogue.url,
        backend=settings.catalogue.backend,
        data_dir=layout.service("catalogue"),
        issuer=settings.identity.issuer,
        title=settings.catalogue.title,
        writers=[
            WriterRule(
                groups=[vo.entitlement.group],
                namespaces=list(vo.entitlement.namespaces),
                authorities=list(vo.entitlement.authorities),
                roles=sorted({given for accepted in vo.roles.values() for given in accepted}),
            )
            for vo in vos.vos.values()
        ],
    )


def _openeo(settings: Settings, vos: VOFile, layout: Layout, port: int) -> dict[str, Any]:
    """A plain mapping: the hub does not import the openEO service."""
    return {
        "port": port,
        "prefix": "/services/openeo",
        "public_url": f"http://127.0.0.1:{settings.hub.port}/services/openeo",
        "data_dir": str(layout.service("openeo")),
        "issuer": settings.identity.issuer,
        "jwks_url": _endpoint(settings, "certs"),
        "userinfo_url": _endpoint(settings, "userinfo"),
        "provider_title": settings.identity.label,
        "oidc_client_id": OPENEO_CLIENT,
        "vos": [
            {
                "name": rule.name,
                "bucket": vos.vos[rule.name].bucket,
                "group": rule.group,
                "namespaces": sorted(rule.namespaces),
                "authorities": sorted(rule.authorities),
                "roles": {name: sorted(given) for name, given in rule.roles.items()},
                "enrol_url": vos.vos[rule.name].enrolment_url,
            }
            for rule in vos.rules()
        ],
        "catalogue_url": settings.catalogue.url,
        "s3": {
            "endpoint": settings.storage.endpoint,
            "region": settings.storage.region,
            "token_endpoint": _endpoint(settings, "token"),
            "client_id": OPENEO_SERVICE_CLIENT,
            "client_secret_file": str(layout.secrets / "client-cscale-openeo-service"),
            "role_arn": f"arn:aws:iam::role/{OPENEO_ROLE}",
        },
        "site": {"mount_root": settings.storage.mount_root},
        "spark": settings.spark.model_dump(include={"master", "driver_memory"}),
    }


def _mqs(settings: Settings, layout: Layout, port: int) -> dict[str, Any]:
    """A plain mapping: the hub does not import the Metadata Query Service."""
    return {
        "port": port,
        "prefix": "/services/mqs",
        "public_url": f"http://127.0.0.1:{settings.hub.port}/services/mqs",
        "providers": searched(settings),
        "site_registry": registry(settings),
        "allowed_hosts": list(settings.allowed_hosts),
        "data_dir": str(layout.service("mqs")),
    }


def _broker(settings: Settings, vos: VOFile, layout: Layout, port: int) -> BrokerConfig:
    return BrokerConfig(
        port=port,
        prefix="/services/broker",
        token_url=_endpoint(settings, "token"),
        client_id=HUB_CLIENT,
        client_secret_file=layout.secrets / "client-cscale-hub",
        s3=S3Access(
            endpoint=settings.storage.endpoint,
            region=settings.storage.region,
            role_arn=f"arn:aws:iam::role/{RESEARCHER_ROLE}",
        ),
        vos=vos,
        audit_log=audit_file(settings),
    )


SERVICES = ("issuer", "s3", "catalogue", SITE_B, "mqs", "openeo", "broker", "slurm")
ROUTED = frozenset({"catalogue", "mqs", "openeo", "broker"})


def programs(
    settings: Settings, vos: VOFile, ports: Mapping[str, int], wishes: Wishes
) -> list[Program]:
    """All programs but the hub, in the order in which they are of use to each other.

    :param settings: resolved ones.
    """
    layout = Layout(settings.data)
    local = {name: f"http://127.0.0.1:{ports[name]}" for name in SERVICES}
    everything = [
        Program(
            "issuer",
            "sign-in",
            "cscale_hub.local.issuer",
            ports["issuer"],
            f"{settings.identity.issuer}/.well-known/openid-configuration",
            _issuer(settings, layout, ports["issuer"], wishes.token_seconds),
        ),
        Program(
            "s3",
            "object store",
            "cscale_hub.local.seaweedfs",
            ports["s3"],
            f"{local['s3']}/healthz",
            _s3(settings, vos, layout, ports),
        ),
        Program(
            "catalogue",
            "catalogue",
            "cscale_hub.local.catalogue",
            ports["catalogue"],
            f"{local['catalogue']}/services/catalogue/healthz",
            _catalogue(settings, vos, layout, ports["catalogue"]),
            routed=True,
        ),
        Program(
            SITE_B,
            "archive of site B",
            "cscale_hub.local.archive",
            ports[SITE_B],
            f"{local[SITE_B]}/healthz",
            ArchiveConfig(
                port=ports[SITE_B],
                root=archive_folder(layout, wishes),
                data_dir=layout.service("archive") / "index",
                title=wishes.archive_title,
            ),
        ),
        Program(
            "mqs",
            "metadata query service",
            "cscale_mqs",
            ports["mqs"],
            f"{local['mqs']}/services/mqs/healthz",
            _mqs(settings, layout, ports["mqs"]),
            routed=True,
        ),
        Program(
            "openeo",
            "openEO",
            "cscale_openeo",
            ports["openeo"],
            f"{local['openeo']}/services/openeo/healthz",
            _openeo(settings, vos, layout, ports["openeo"]),
            routed=True,
        ),
        Program(
            "broker",
            "broker",
            "cscale_hub.broker",
            ports["broker"],
            f"{local['broker']}/services/broker/healthz",
            _broker(settings, vos, layout, ports["broker"]),
            routed=True,
        ),
        Program(
            "slurm",
            "batch cluster",
            "cscale_hub.local.slurm",
            ports["slurm"],
            f"{local['slurm']}/healthz",
            _slurm(layout, ports),
            grace=20,
        ),
    ]
    started = {service.name for service in settings.services}
    return [program for program in everything if program.name in started]


def write_programs(settings: Settings, running: list[Program]) -> None:
    """Write every configuration file and what the launcher starts, the hub included."""
    layout = Layout(settings.data)
    for program in running:
        content = program.content()
        if "data_dir" in content:
            Path(content["data_dir"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(program.config_file(layout), json.dumps(content, indent=1) + "\n")
        _write_launch(
            layout,
            program.name,
            [sys.executable, "-m", program.module, "--config", str(program.config_file(layout))],
            grace=program.grace,
        )
    dump_settings(settings, layout.settings)
    layout.hub_config.write_text(HUB_CONFIG, encoding="utf-8")
    _write_launch(
        layout,
        "hub",
        [sys.executable, "-m", "jupyterhub", "-f", str(layout.hub_config)],
        grace=45,
        cwd=layout.hub,
        environment={
            "CSCALE_SETTINGS_FILE": str(layout.settings),
            "HOME": str(layout.home),
            "TMPDIR": str(layout.temporary),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        },
        # They are in the resolved file already, and would win over it.
        drop=[name for name in os.environ if name.startswith(("CSCALE_", "JUPYTER"))],
    )


def _write_launch(
    layout: Layout,
    name: str,
    argv: list[str],
    *,
    grace: int,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    drop: list[str] | None = None,
) -> None:
    content = {
        "argv": argv,
        "grace": grace,
        "cwd": str(cwd or layout.data),
        "environment": environment or {},
        "drop_environment": drop or [],
    }
    (layout.programs / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def clear_temporary(layout: Layout) -> None:
    """Remove what is true only while the federation runs."""
    for folder in (layout.temporary, layout.run / "users"):
        shutil.rmtree(folder, ignore_errors=True)
    for state in layout.programs.glob("*.state.json"):
        state.unlink(missing_ok=True)
