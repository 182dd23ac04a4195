"""From settings to JupyterHub's configuration: the only place that touches ``c``.

The same function serves every profile; what differs between a laptop and a cluster (spawner,
proxy, database) is set in a function of the profile's own.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

from cscale_hub.accounting.place import open_usage
from cscale_hub.accounting.reports import DESCRIPTION, METER_SETTING, REPORT_SCOPE
from cscale_hub.announcement_feed import BOARD_SETTING
from cscale_hub.announcements import Announcements
from cscale_hub.audit import AuditLog, audit_file
from cscale_hub.audit_shares import record_shares
from cscale_hub.auth.audited import AuditedAuthenticator
from cscale_hub.auth.checkin import AcceptedVO
from cscale_hub.broker import scopes
from cscale_hub.broker.config import cluster_config
from cscale_hub.colours import darker
from cscale_hub.culling import CULLER, CULLER_SCOPES, culler_command
from cscale_hub.group_roles import group_roles
from cscale_hub.hub_database import connect_arguments
from cscale_hub.local.layout import Layout
from cscale_hub.local.processes import FEDERATION_VARIABLE
from cscale_hub.local.routes import LocalProxy
from cscale_hub.local.secrets import SecretError, ensure_secret, read_secret
from cscale_hub.metrics.usage import show_usage
from cscale_hub.settings import Settings, SettingsError, public_url
from cscale_hub.sharing.editing import COOKIES
from cscale_hub.sharing.gate import hold_shares
from cscale_hub.sharing.page import VOS_SETTING
from cscale_hub.sharing.publications import AUDIT_SETTING
from cscale_hub.spawn.local import LocalSpawner
from cscale_hub.vo_model import VOFile
from cscale_hub.vos import accepted_vos

OPERATOR = "operator"
PROMETHEUS = "prometheus"
# How often a login is looked at without asking anybody; what is due is asked for then.
_LOOK_SECONDS = 5
TEMPLATES = Path(__file__).parent / "templates"


def configure(c: Any, settings: Settings) -> None:
    """Fill JupyterHub's configuration object.

    :raises SettingsError: when the settings, the VO file or a secret cannot be used; the hub then
        does not start.
    """
    vos = accepted_vos(settings)
    if settings.profile == "kubernetes":
        # On one machine `cscale up` did this.
        Layout(settings.data).create()
    try:
        _identity(c, settings, vos)
        _authorisation(c, settings, vos)
        _pages(c, settings, vos)
        _sharing(c, vos)
        if settings.profile == "kubernetes":
            _kubernetes(c, settings, vos)
        else:
            _local(c, settings, vos)
        _records(c, settings)
    except SecretError as error:
        raise SettingsError(str(error)) from error


def _identity(c: Any, settings: Settings, vos: VOFile) -> None:
    """Who may come in, and the encryption of what is kept about them."""
    identity = settings.identity
    secrets = settings.secrets_folder
    c.JupyterHub.authenticator_class = AuditedAuthenticator
    login = c.CheckinAuthenticator
    login.issuer = identity.issuer
    login.login_service = identity.label
    login.client_id = identity.client_id
    if identity.client_secret_file is not None:
        login.client_secret = read_secret(identity.client_secret_file)
    login.scope = list(identity.scopes)
    login.oauth_callback_url = f"{public_url(settings)}/hub/oauth_callback"
    login.vo_rules = list(vos.rules())
    login.accepted_vos = [
        AcceptedVO(name, vo.title, vo.enrolment_url) for name, vo in vos.vos.items()
    ]
    login.enrolment_url = identity.enrolment_url
    login.refresh_ahead = identity.refresh_ahead
    login.outage_grace = identity.outage_grace
    login.discovery_timeout = identity.discovery_timeout
    login.membership_interval = identity.refresh_interval
    login.auth_refresh_age = min(_LOOK_SECONDS, identity.refresh_interval)
    login.refresh_pre_spawn = True
    login.enable_auth_state = True
    login.enable_pkce = True
    login.manage_groups = True
    login.allow_all = False
    login.allow_existing_users = False
    login.any_allow_config = True
    key = read_secret(secrets / "auth-state-key")
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise SettingsError(f"{secrets / 'auth-state-key'} must hold 32 bytes in hexadecimal")
    c.CryptKeeper.keys = [bytes.fromhex(key)]


def _authorisation(c: Any, settings: Settings, vos: VOFile) -> None:
    """Roles: each service and each token may do what it needs and no more."""
    secrets = settings.secrets_folder
    c.JupyterHub.custom_scopes = {**scopes.DESCRIPTIONS, REPORT_SCOPE: DESCRIPTION}
    broker = {
        "name": "broker",
        "description": "Reads groups, sharing and the access tokens of the provider",
        "scopes": [scopes.READ_SCOPE],
        "services": ["broker"],
    }
    services = _managed_services(settings, vos)
    roles = [
        {"name": "user", "scopes": ["self", f"{scopes.SCOPE}!user", f"{REPORT_SCOPE}!user"]},
        *([broker] if any(each["name"] == "broker" for each in services) else ()),
        {
            "name": "operator",
            "description": "Stops users' servers before the services they need are stopped",
            "scopes": ["list:users", "read:servers", "delete:servers"],
            "services": [OPERATOR],
        },
        {
            "name": CULLER,
            "description": "Stops servers that nobody uses",
            "scopes": list(CULLER_SCOPES),
            "services": [CULLER] if culler_command(settings.culling) else [],
        },
        {
            "name": PROMETHEUS,
            "description": "Reads the hub's metrics",
            "scopes": ["read:metrics"],
            "services": [PROMETHEUS],
        },
        *group_roles(vos),
    ]
    _add(c.JupyterHub, "load_roles", roles)
    # The scope is narrowed to the one server the token is for: a token that a user makes on the
    # token page holds it for the user, which the broker does not take.
    c.Spawner.server_token_scopes = [
        "users:activity!user",
        "access:servers!server",
        f"{scopes.SCOPE}!server",
        f"{REPORT_SCOPE}!server",
    ]
    tokens = {
        OPERATOR: read_secret(secrets / "operator-token"),
        PROMETHEUS: ensure_secret(secrets / "prometheus-token"),
    }
    _add(
        c.JupyterHub,
        "services",
        [
            *(
                {"name": name, "api_token": token, "display": False}
                for name, token in tokens.items()
            ),
            *_culler(settings),
            *services,
        ],
    )


def _add(section: Any, name: str, entries: list[dict[str, Any]]) -> None:
    """Add to a list, in which a deployment's own configuration may have put something before."""
    there = section.get(name)
    section[name] = [*(there if isinstance(there, list) else ()), *entries]


def _culler(settings: Settings) -> list[dict[str, Any]]:
    command = culler_command(settings.culling)
    if not command:
        return []
    layout = Layout(settings.data)
    environment = {"HOME": str(layout.home), "TMPDIR": str(layout.temporary)}
    return [
        {
            "name": CULLER,
            "display": False,
            "command": command,
            "cwd": str(settings.data),
            "environment": {**environment, FEDERATION_VARIABLE: str(settings.data)},
        }
    ]


def _managed_services(settings: Settings, vos: VOFile) -> list[dict[str, Any]]:
    """The services JupyterHub starts.

    They get no ``url``: JupyterHub would start such services one after the other, wait for each,
    and end itself when one does not come up. Their routes are :attr:`Proxy.extra_routes`.
    """
    if settings.profile == "kubernetes":
        return [_cluster_broker(settings, vos)] if settings.broker.upstream else []
    layout = Layout(settings.data)
    return [
        {
            "name": service.name,
            "display": False,
            "command": [
                *(sys.executable, "-m", "cscale_hub.local.run", service.name),
                *("--data", str(settings.data), "--parent", str(os.getpid())),
            ],
            "cwd": str(settings.data),
            "environment": {
                "HOME": str(layout.home),
                "TMPDIR": str(layout.temporary),
                **({"JAVA_HOME": java} if (java := os.environ.get("JAVA_HOME")) else {}),
            },
        }
        for service in settings.services
    ]


def _cluster_broker(settings: Settings, vos: VOFile) -> dict[str, Any]:
    """The broker beside the hub; its configuration holds no secret, only where they are."""
    path = settings.data / "broker.json"
    path.write_text(cluster_config(settings, vos).model_dump_json(), encoding="utf-8")
    return {
        "name": "broker",
        "display": False,
        "command": [sys.executable, "-m", "cscale_hub.broker", "--config", str(path)],
        "environment": {"HOME": str(Layout(settings.data).home)},
    }


def _pages(c: Any, settings: Settings, vos: VOFile) -> None:
    branding = settings.branding
    announced = settings.hub.announcements_file or Layout(settings.data).announcements
    announcements = Announcements(announced)
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.template_vars = {
        "hub_title": settings.hub.title,
        "identity_label": settings.identity.label,
        "demonstration": settings.profile == "local",
        "tagline": branding.tagline,
        "accent": branding.accent,
        "accent_pressed": darker(branding.accent),
        "foot_links": [link.model_dump() for link in branding.links],
        "has_logo": branding.logo_file is not None,
        "announcements": announcements,
        "co_editing": any(vo.shared_notebooks.co_editing for vo in vos.vos.values()),
    }
    if branding.logo_file is not None:
        if not branding.logo_file.is_file():
            raise SettingsError(f"branding.logo_file: there is no file {branding.logo_file}")
        c.JupyterHub.logo_file = str(branding.logo_file.absolute())
    # A server that is refused is told at once, by the page or the answer that asked for it; for
    # one that starts, the progress page is there before a browser seems to hang.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1, BOARD_SETTING: announcements}


def _records(c: Any, settings: Settings) -> None:
    """What is put on record: the audit log and what was used."""
    try:
        audit = AuditLog(audit_file(settings))
    except OSError as error:
        raise SettingsError(f"The audit log cannot be written: {error}") from error
    meter = open_usage(settings)
    c.AuditedAuthenticator.cscale_audit = audit
    c.WatchedSpawner.cscale_audit = audit
    c.WatchedSpawner.cscale_meter = meter
    c.ChoosingSpawner.cscale_usage = meter.used
    c.JupyterHub.tornado_settings[METER_SETTING] = meter
    c.JupyterHub.tornado_settings[AUDIT_SETTING] = audit
    record_shares(audit)
    show_usage(meter.store)


def _sharing(c: Any, vos: VOFile) -> None:
    """Who may let whom into a running server, which answers nobody else."""
    hold_shares(vos)
    c.JupyterHub.tornado_settings |= {VOS_SETTING: vos, "cookie_options": COOKIES}


def _local(c: Any, settings: Settings, vos: VOFile) -> None:
    """One machine, loopback only: local processes, SQLite, the proxy from PyPI."""
    layout = Layout(settings.data)
    hub = settings.hub
    c.JupyterHub.bind_url = public_url(settings) + "/"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub.api_port}"
    c.JupyterHub.db_url = f"sqlite:///{layout.hub / 'jupyterhub.sqlite'}"
    c.JupyterHub.db_kwargs = {"connect_args": connect_arguments()}
    c.JupyterHub.cookie_secret_file = str(_private(layout.secrets / "cookie-secret"))
    c.JupyterHub.log_level = hub.log_level
    c.JupyterHub.allow_named_servers = False
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True

    c.JupyterHub.proxy_class = LocalProxy
    proxy = c.LocalProxy
    proxy.command = [
        *(sys.executable, "-m", "cscale_hub.local.proxy", "--parent", str(os.getpid()))
    ]
    proxy.api_url = f"http://127.0.0.1:{hub.proxy_api_port}"
    proxy.auth_token = read_secret(layout.secrets / "proxy-token")
    proxy.pid_file = str(layout.run / "proxy.pid")
    proxy.check_running_interval = 1
    proxy.extra_routes = {
        f"/services/{service.name}/": f"http://127.0.0.1:{service.port}"
        for service in settings.services
        if service.routed
    }

    c.JupyterHub.spawner_class = LocalSpawner
    spawner = c.LocalSpawner
    spawner.cscale_settings = settings
    spawner.cscale_vos = vos
    spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    spawner.environment = dict(settings.spawn.environment)
    spawner.start_timeout = hub.spawn_timeout
    spawner.http_timeout = hub.spawn_timeout
    spawner.interrupt_timeout = settings.spawn.stop_timeout
    spawner.term_timeout = 5
    spawner.kill_timeout = 3
    spawner.poll_interval = 5
    spawner.notebook_dir = ""


def _kubernetes(c: Any, settings: Settings, vos: VOFile) -> None:
    """Servers as pods. Addresses, the proxy and the database are the deployment's: the chart sets
    them before this, and what it must not decide is set here."""
    # Here and not above: it takes seconds to import, which one machine need not wait for.
    from cscale_hub.spawn.cluster import ClusterSpawner

    cluster = settings.kubernetes
    if cluster is None:
        raise SettingsError("profile is kubernetes, and the member kubernetes is missing")
    beside = [name for name, each in vos.profiles.items() if each.storage == "sidecar"]
    if beside and not cluster.sidecar.image:
        raise SettingsError(
            f"The profile {beside[0]} has the storage sidecar, and kubernetes.sidecar.image is "
            "missing"
        )
    c.JupyterHub.log_level = settings.hub.log_level
    c.JupyterHub.public_url = public_url(settings) + "/"
    # Servers outlive the hub.
    c.JupyterHub.cleanup_servers = False
    servers = sum(vo.quota.servers for vo in vos.vos.values())
    c.JupyterHub.allow_named_servers = any(vo.quota.servers > 1 for vo in vos.vos.values())
    c.JupyterHub.named_server_limit_per_user = servers

    if settings.broker.upstream:
        c.Proxy.extra_routes = {"/services/broker/": settings.broker.upstream}
    c.JupyterHub.spawner_class = ClusterSpawner
    spawner = c.ClusterSpawner
    spawner.cscale_settings = settings
    spawner.cscale_vos = vos
    if cluster.namespace:
        spawner.namespace = cluster.namespace
    spawner.image = cluster.image
    spawner.image_pull_policy = cluster.pull_policy
    spawner.image_pull_secrets = list(cluster.pull_secrets)
    spawner.cmd = ["jupyterhub-singleuser"]
    spawner.environment = dict(settings.spawn.environment)
    spawner.notebook_dir = ""
    spawner.default_url = "/lab"
    spawner.uid = cluster.run_as
    spawner.gid = cluster.group
    spawner.fs_gid = cluster.group
    spawner.allow_privilege_escalation = False
    spawner.pod_security_context = {
        "runAsNonRoot": True,
        "runAsUser": cluster.run_as,
        "runAsGroup": cluster.group,
        "fsGroup": cluster.group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spawner.container_security_context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "runAsNonRoot": True,
        "runAsUser": cluster.run_as,
        "runAsGroup": cluster.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spawner.node_selector = dict(cluster.node_selector)
    if cluster.priority_class:
        spawner.priority_class_name = cluster.priority_class
    home = cluster.home
    spawner.storage_pvc_ensure = home.kind == "claim"
    spawner.storage_capacity = home.size
    spawner.storage_access_modes = ["ReadWriteOnce"]
    if home.storage_class:
        spawner.storage_class = home.storage_class
    spawner.pvc_name_template = "home-{username}"
    spawner.pod_name_template = "server-{user_server}"
    spawner.events_enabled = True
    # Our own words, with the time that an image usually takes.
    spawner.slow_spawn_message_threshold = 0
    spawner.start_timeout = cluster.start_timeout
    spawner.http_timeout = settings.hub.spawn_timeout
    spawner.delete_grace_period = settings.spawn.stop_timeout


def _private(path: Path) -> Path:
    read_secret(path)
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        raise SecretError(f"The secret file {path} must have mode 0600")
    return path
