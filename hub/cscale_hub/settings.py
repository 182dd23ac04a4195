"""The hub's settings: one typed model, read from ``cscale.yaml`` and ``CSCALE_*`` variables.

Environment variables win over the file, the file over the defaults; nested members are separated
by two underscores (``CSCALE_IDENTITY__ISSUER``). An unknown member of the file is an error, not a
silent nothing. Settings never hold a secret, only the paths of secret files. The JSON schema comes
from :func:`json_schema`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cscale_core.backends import OpenEOBackend, shipped_backends
from cscale_core.clusters import SlurmCluster, SparkSite
from cscale_core.providers import AllowedHost, Provider, SiteRegistry, with_archives
from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.colours import check_accent
from cscale_hub.vo_model import VOFile

SETTINGS_FILE_VARIABLE = "CSCALE_SETTINGS_FILE"
SETTINGS_FILE_NAME = "cscale.yaml"
LOGO_SUFFIXES = (".png", ".svg", ".jpg", ".jpeg", ".webp")
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
# Names that mean something inside a Kubernetes cluster only.
_CLUSTER_NAMES = (".svc", ".svc.cluster.local")


class SettingsError(Exception):
    """The settings cannot be used; the message names the file and every wrong member."""


COMMUNITY_PROVIDER = "catalogue"
"""Id of the community's catalogue among the providers that are searched."""


CHECKIN_ISSUERS = {
    "production": "https://aai.egi.eu/auth/realms/egi",
    "demo": "https://aai-demo.egi.eu/auth/realms/egi",
    "dev": "https://aai-dev.egi.eu/auth/realms/egi",
}
"""EGI Check-in's own issuers."""


def _issuer_url(value: object) -> object:
    return CHECKIN_ISSUERS.get(value, value) if isinstance(value, str) else value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    inside = parts.hostname in LOOPBACK_HOSTS or parts.hostname.endswith(_CLUSTER_NAMES)
    if parts.scheme == "http" and not inside:
        raise ValueError(
            "plain http is accepted on loopback only, and inside a cluster (.svc); use https"
        )
    return value.rstrip("/")


def _optional_url(value: str) -> str:
    return _http_url(value) if value else ""


HttpUrl = Annotated[str, AfterValidator(_http_url)]
OptionalUrl = Annotated[str, AfterValidator(_optional_url)]
IssuerUrl = Annotated[str, BeforeValidator(_issuer_url), AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HubSettings(_Model):
    """JupyterHub itself: where it listens and where it keeps its state."""

    title: str = Field(default="C-SCALE Hub", description="Name shown on the pages.")
    url: OptionalUrl = Field(
        default="", description="The address people open; empty: port of this machine's loopback."
    )
    port: Port = Field(default=8000, description="Port of the proxy: the address people open.")
    api_port: Port = Field(default=8081, description="Loopback port of the hub.")
    proxy_api_port: Port = Field(default=8001, description="Loopback port of the proxy's API.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="How much JupyterHub writes to its log."
    )
    spawn_timeout: int = Field(
        default=120, gt=0, description="Seconds a user's server may take to answer."
    )
    announcements_file: Path | None = Field(
        default=None,
        description="YAML list of announcements, read again when it changes; none: "
        "announcements.yaml in the data folder, which need not be there.",
    )


class LinkSettings(_Model):
    """A link at the foot of every page of the hub."""

    title: str = Field(min_length=1, max_length=60, description="Its words.")
    url: str = Field(pattern=r"^(https?://|mailto:)[^\s]+$", description="Where it leads.")


class BrandingSettings(_Model):
    """How the hub's pages look; the name is ``hub.title``."""

    tagline: str = Field(
        default="Search the Copernicus archives of the federation, bring products to your "
        "community, run openEO and Spark jobs, and see the results on a map.",
        max_length=400,
        description="What the sign-in page says below the name.",
    )
    logo_file: Path | None = Field(
        default=None, description="PNG, SVG, JPEG or WebP shown beside the name; none: no picture."
    )
    accent: Annotated[str, AfterValidator(check_accent)] = Field(
        default="#0b5c8f",
        description="Colour of the main buttons, #rrggbb, dark enough for white letters on it "
        "(WCAG 2.2, 4.5:1).",
    )
    links: tuple[LinkSettings, ...] = Field(
        default=(),
        max_length=8,
        description="Links at the foot of every page: terms of use, privacy, support.",
    )

    @field_validator("logo_file")
    @classmethod
    def _picture(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in LOGO_SUFFIXES:
            raise ValueError(f"must end in one of {', '.join(LOGO_SUFFIXES)}")
        return value


class CullingSettings(_Model):
    """Which servers are stopped because nobody uses them.

    A copy into a bucket that runs in a server, and a kernel that computes, count as its use for a
    bounded time. Jobs that run elsewhere do not: they go on without the server.
    """

    idle_minutes: int = Field(
        default=60, ge=0, description="Minutes without use; 0: servers are never stopped for it."
    )
    longest_staging_hours: float = Field(
        default=4.0,
        ge=0,
        description="Hours for which one copy holds a server that nobody uses otherwise.",
    )
    longest_computing_hours: float = Field(
        default=24.0,
        ge=0,
        description="Hours for which a kernel that computes and says nothing holds a server.",
    )
    longest_days: float = Field(
        default=7.0,
        ge=0,
        description="Days after which a server is stopped whatever it does; 0: never.",
    )

    @field_validator("idle_minutes")
    @classmethod
    def _longer_than_a_report(cls, value: int) -> int:
        if 0 < value < 10:
            raise ValueError("must be 0 or at least 10: servers tell of their use every 5 minutes")
        return value


class AuditSettings(_Model):
    """The record of logins, starts of servers, hand-outs of credentials and shares."""

    file: Path | None = Field(
        default=None,
        description="One JSON object a line, mode 0600; none: logs/audit.jsonl in the data folder.",
    )


class AccountingSettings(_Model):
    """The records of what virtual organisations used."""

    database_file: Path | None = Field(
        default=None,
        description="File (0600) with the database's address as SQLAlchemy writes it, such as "
        "postgresql+psycopg://…; none: SQLite in the data folder.",
    )
    storage_key_file: Path | None = Field(
        default=None,
        description="File (0600) with the JSON {access_key_id, secret_access_key} of a key that "
        "may list the VOs' buckets, for `cscale accounting measure`; none: what is stored is not "
        "counted.",
    )
    site: str = Field(
        default="C-SCALE-HUB",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the site in exported records, as in the site registry.",
    )


class IdentitySettings(_Model):
    """The OpenID provider: EGI Check-in, or the issuer of the local federation."""

    issuer: IssuerUrl = Field(
        default=CHECKIN_ISSUERS["production"],
        description="Issuer URL, or production, demo or dev for those of EGI Check-in; the "
        "endpoints come from its discovery document.",
    )
    label: str = Field(default="EGI Check-in", description="Name on the sign-in button.")
    client_id: str = Field(
        default="cscale-hub", description="Client id under which the provider knows the hub."
    )
    client_secret_file: Path | None = Field(
        default=None, description="File (0600) with the client secret; none for a public client."
    )
    scopes: tuple[str, ...] = Field(
        default=(
            "openid",
            "profile",
            "email",
            "voperson_id",
            "eduperson_entitlement",
            "offline_access",
        ),
        description="Scopes asked for at sign-in.",
    )
    enrolment_url: str = Field(
        default="https://docs.egi.eu/users/aai/check-in/joining-virtual-organisation/",
        description="Where a person learns how to join a virtual organisation.",
    )
    refresh_interval: int = Field(
        default=300,
        ge=10,
        description="Seconds between two looks at a user's membership; each start of a server "
        "looks too.",
    )
    refresh_ahead: int = Field(
        default=1500,
        ge=0,
        description="Seconds before the end of an access token at which it is renewed; more than "
        "the broker's minimum_life. A short one is renewed after a third of its life.",
    )
    outage_grace: int = Field(
        default=900,
        ge=0,
        description="Seconds after the end of its access token for which a session is kept while "
        "the provider is out of reach.",
    )
    discovery_timeout: float = Field(
        default=15.0, gt=0, description="Seconds for which discovery is tried again."
    )


class StorageSettings(_Model):
    """The object store as the users' servers see it."""

    endpoint: HttpUrl = Field(
        default="http://127.0.0.1:8333", description="S3 endpoint URL, path-style addressing."
    )
    region: str = Field(default="us-east-1", description="Region that S3 clients sign for.")
    mount_mode: Literal["auto", "fuse", "contents", "none"] = Field(
        default="auto", description="auto: FUSE where the machine allows it, else contents."
    )
    mount_root: str = Field(default="/s3", description="Mount path written into catalogues.")


class CatalogueSettings(_Model):
    """The community's catalogue, where items are registered."""

    title: str = Field(default="Community catalogue", description="Name shown to people.")
    url: HttpUrl = Field(
        default="http://127.0.0.1:8000/services/catalogue",
        description="Root of its STAC API with Transactions.",
    )
    backend: Literal["auto", "pgstac", "sqlite"] = Field(
        default="auto",
        description="Local federation only; auto: pgstac where PostgreSQL and PostGIS are there.",
    )


class OpenEOSettings(OpenEOBackend):
    """One openEO back end that is offered."""

    url: HttpUrl = Field(description="Root of the openEO API; versions are discovered from it.")


class BrokerSettings(_Model):
    """The service that hands short-lived tokens and S3 credentials to users' servers."""

    url: HttpUrl = Field(
        default="http://127.0.0.1:8000/services/broker",
        description="Where users' servers ask the broker.",
    )
    upstream: OptionalUrl = Field(
        default="",
        description="kubernetes: where the proxy reaches the broker, which runs beside the hub, "
        "such as http://hub.NAMESPACE.svc:8083; empty: there is no broker.",
    )
    port: Port = Field(default=8083, description="kubernetes: port of the broker.")
    token_url: OptionalUrl = Field(
        default="", description="kubernetes: token endpoint of the identity provider."
    )
    role_arn: str = Field(
        default="", description="kubernetes: role that the object store's STS gives researchers."
    )

    @model_validator(mode="after")
    def _upstream_is_complete(self) -> BrokerSettings:
        if self.upstream and not (self.token_url and self.role_arn):
            raise ValueError("a broker with upstream needs token_url and role_arn")
        return self


class ServiceSettings(_Model):
    """One service that JupyterHub starts, and the route through which it is reached."""

    name: Name = Field(description="Name of the service and of its route.")
    port: Port = Field(description="Loopback port it listens on.")
    routed: bool = Field(
        default=False, description="Whether the proxy leads /services/NAME/ to it."
    )


class SpawnSettings(_Model):
    """What every user's server gets."""

    notebooks: Path | None = Field(
        default=None, description="Folder whose notebooks are copied into a new home."
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Additional, non-secret variables."
    )
    stop_timeout: int = Field(default=15, gt=0, description="Seconds for a clean stop.")


class Settings(BaseSettings):
    """Everything that :func:`cscale_hub.configure.configure` needs to know."""

    model_config = SettingsConfigDict(
        env_prefix="CSCALE_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    profile: Literal["local", "kubernetes"] = Field(
        default="local",
        description="local: everything on this machine, on loopback; kubernetes: servers are pods, "
        "and the deployment gives the hub its proxy and database.",
    )
    kubernetes: KubernetesSettings | None = Field(
        default=None, description="Servers as pods; needed by profile kubernetes."
    )
    data: Path = Field(
        default_factory=lambda: user_data_path("cscale", appauthor=False),
        description="Folder of all state; nothing is written outside it. Default: cscale in the "
        "user's data folder, ~/.local/share/cscale on Linux.",
    )
    secrets: Path | None = Field(
        default=None,
        description="Folder of the hub's secret files, such as a mounted Secret; none: secrets in "
        "the folder of all state.",
    )
    vos_file: Path | None = Field(
        default=None, description="Virtual organisations; none: those of the demonstration."
    )
    vos: VOFile | None = Field(
        default=None,
        description="Virtual organisations, as in the file of vos_file and instead of it.",
    )
    hub: HubSettings = HubSettings()
    branding: BrandingSettings = BrandingSettings()
    culling: CullingSettings = CullingSettings()
    audit: AuditSettings = AuditSettings()
    accounting: AccountingSettings = AccountingSettings()
    identity: IdentitySettings = IdentitySettings()
    storage: StorageSettings = StorageSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    providers: tuple[Provider, ...] = Field(
        default=(),
        description="Further STAC APIs and static catalogues that are searched beside the "
        "catalogue, the nearest first.",
    )
    archives: dict[str, bool] = Field(
        default_factory=dict,
        description="Public archives that are shipped, such as cdse, and whether they are on; all "
        "are off until named. They are searched after the providers.",
    )
    site_registry: SiteRegistry | None = Field(
        default=None,
        description="The site registry (GOCDB) from which further providers are read; none: "
        "nowhere.",
    )
    openeo: tuple[OpenEOSettings, ...] = Field(
        default=(), description="openEO back ends that are offered, the first is the default."
    )
    backends: dict[str, bool] = Field(
        default_factory=dict,
        description="Back ends of the federation that are offered too, such as {cdse: true}; "
        "an entry of the same id in openeo stands for it. Known: "
        + ", ".join(shipped_backends())
        + ".",
    )
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        default=(),
        description="host or host:port that users' servers may ask although private or loopback.",
    )
    spark: SparkSite = SparkSite()
    slurm: tuple[SlurmCluster, ...] = Field(
        default=(), description="Slurm clusters that are offered; the first is the default."
    )
    broker: BrokerSettings = BrokerSettings()
    spawn: SpawnSettings = SpawnSettings()
    services: tuple[ServiceSettings, ...] = Field(
        default=(), description="Services that JupyterHub starts and keeps running."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the file's members, which arrive as initial values."""
        return (env_settings, init_settings)

    @field_validator("providers", "site_registry")
    @classmethod
    def _encrypted(cls, value: Any) -> Any:
        """Tokens go there, and what comes back is believed: the same rule as for services."""
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None:
                _http_url(each.url)
        return value

    @model_validator(mode="after")
    def _known_archives(self) -> Settings:
        if COMMUNITY_PROVIDER in (each.id for each in self.all_providers):
            raise ValueError(
                f"{COMMUNITY_PROVIDER} is the id of the community's catalogue; choose another"
            )
        return self

    @property
    def all_providers(self) -> tuple[Provider, ...]:
        """The declared providers, then the archives that are on."""
        return with_archives(self.providers, self.archives)

    @model_validator(mode="after")
    def _resolve(self) -> Settings:
        self.data = self.data.expanduser().absolute()
        names = [service.name for service in self.services]
        if len(set(names)) != len(names):
            raise ValueError("two services have the same name")
        if self.profile == "kubernetes" and self.kubernetes is None:
            raise ValueError("profile is kubernetes, and the member kubernetes is missing")
        if self.profile == "kubernetes" and not self.hub.url:
            raise ValueError("profile is kubernetes, and hub.url is missing")
        if self.vos is not None and self.vos_file is not None:
            raise ValueError("vos and vos_file cannot both be set")
        unknown = self.backends.keys() - shipped_backends().keys()
        if unknown:
            raise ValueError(f"backends: not known: {', '.join(sorted(unknown))}")
        return self

    def __deepcopy__(self, memo: Any = None) -> Settings:
        return self  # nothing changes them: traitlets copies what each server is configured with

    @property
    def secrets_folder(self) -> Path:
        """Where the hub's secret files are."""
        return self.secrets or self.data / "secrets"

    @property
    def offered_backends(self) -> tuple[OpenEOBackend, ...]:
        """Every openEO back end that users get, those of the settings first."""
        own = {backend.id for backend in self.openeo}
        shipped = shipped_backends().items()
        turned_on = [one for name, one in shipped if self.backends.get(name) and name not in own]
        return (*self.openeo, *turned_on)


class _FileSettings(Settings):
    """The same model without the environment, for a file that is already resolved."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load_settings(path: Path | None = None, *, environment: bool = True) -> Settings:
    """Settings from a YAML file and the environment.

    :param path: the file; else the one named by ``CSCALE_SETTINGS_FILE``, else ``cscale.yaml`` in
        the working folder, else none.
    :param environment: False takes the file alone (it was resolved and written by ``cscale up``).
    :raises SettingsError: when the file is missing, is not YAML, or has wrong members.
    """
    named = path or (Path(name) if (name := os.environ.get(SETTINGS_FILE_VARIABLE)) else None)
    source = named or Path(SETTINGS_FILE_NAME)
    values: dict[str, Any] = {}
    if named is not None or source.is_file():
        try:
            loaded = yaml.safe_load(source.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise SettingsError(f"The settings file {source} cannot be read: {error}") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise SettingsError(f"The settings file {source} must hold a mapping.")
        values = loaded or {}
    model = Settings if environment else _FileSettings
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError(f"The settings are not valid ({source}): {describe(error)}") from error


def public_url(settings: Settings) -> str:
    """The address people open, without a slash at the end."""
    if settings.hub.url:
        return settings.hub.url
    return f"http://127.0.0.1:{settings.hub.port}"


def describe(error: ValidationError) -> str:
    """All wrong members of a model in one line, without echoing their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def dump_settings(settings: Settings, path: Path) -> None:
    """Write settings so that :func:`load_settings` reads the same back."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``cscale.yaml``."""
    return Settings.model_json_schema()
