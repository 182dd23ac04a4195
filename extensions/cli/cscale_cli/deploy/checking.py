"""What is wrong with a deployment before anything is installed.

Findings are errors, with which nothing is applied, and remarks. Nothing is asked of a cluster here
but, where one is given, which Secrets it has.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from cscale_cli.deploy.helm import DeployError
from cscale_cli.deploy.manifests import Manifest, manifests, name_of
from cscale_cli.deploy.model import CscaleValues
from cscale_cli.deploy.releases import Release
from cscale_cli.deploy.values import ValueFiles, member
from cscale_core.errors import InvalidInput
from cscale_hub.settings import Settings, SettingsError, describe, load_settings

Level = Literal["error", "remark"]
# Whose pods are privileged: mounts that others see have to be.
_PRIVILEGED = frozenset({"cscale-mounts", "csi-s3", "csi-s3-provisioner", "s3-csi-node"})
# What the hub reads in its secrets' folder.
_HUB_KEYS = frozenset({"auth-state-key", "operator-token", "prometheus-token", "pseudonym-key"})
_SECRET_KEY = re.compile(
    r"(password|secretKey|accessKey|secretToken|apiToken|clientSecret|^token)$"
)
_EXAMPLE = re.compile(r"(^|[/.@])example\.(org|com|eu|net)\b|^192\.0\.2\.|^198\.51\.100\.")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or should be known."""

    level: Level
    where: str
    text: str

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class WantedSecret:
    """A Secret that has to be there before the deployment, and its keys where they are fixed."""

    namespace: str
    name: str
    keys: frozenset[str] = frozenset()


def own_values(values: ValueFiles) -> CscaleValues:
    """Our part of the values.

    :raises InvalidInput: naming every wrong member.
    """
    try:
        return CscaleValues.model_validate(values.own)
    except ValidationError as error:
        raise InvalidInput(f"custom.cscale is not valid: {describe(error)}") from error


def hub_settings(values: ValueFiles) -> Settings:
    """The hub's settings as its pod will read them; this machine's variables do not count.

    :raises InvalidInput: naming every wrong member.
    """
    text = yaml.safe_dump(member(values.own, "settings"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cscale.yaml")
        file.write_text(text, encoding="utf-8")
        try:
            return load_settings(file, environment=False)
        except SettingsError as error:
            said = str(error).replace(f" ({file})", "")
            raise InvalidInput(f"custom.cscale.settings: {said}") from error


def check(
    values: ValueFiles,
    releases: tuple[Release, ...],
    template: Callable[[Release], str],
    secret_keys: Callable[[str, str], set[str] | None] | None = None,
) -> list[Finding]:
    """Everything that is found, errors first.

    :param template: renders a release, enforcing its chart's schema.
    :param secret_keys: asks the cluster for the keys of a Secret; None: no cluster is asked.
    """
    found: list[Finding] = [*_plain_secrets(values.merged), *_examples(values.merged)]
    try:
        own = own_values(values)
        settings = hub_settings(values)
    except InvalidInput as error:
        return [Finding("error", "custom.cscale", error.message), *found]
    found += _images(values, settings)
    for release in releases:
        try:
            text = template(release)
        except DeployError as error:
            found.append(Finding("error", release.name, error.message))
            continue
        for each in manifests(text):
            found += _security(release, each)
    for secret in wanted_secrets(values, own, settings):
        found += _secret(secret, secret_keys)
    return sorted(found, key=lambda each: each.level)


def wanted_secrets(
    values: ValueFiles, own: CscaleValues, settings: Settings
) -> Iterator[WantedSecret]:
    """The Secrets that somebody has to make."""
    namespace = own.deployment.namespace
    if existing := member(values.merged, "hub").get("existingSecret"):
        yield WantedSecret(namespace, str(existing), _HUB_KEYS | _client_keys(settings))
    store = frozenset({"access-key", "secret-key"})
    modes = {name: _mode(settings, name) for name in buckets(settings)}
    mounted = [name for name, mode in modes.items() if mode == "node"]
    names = {own.mounts.buckets[name].secret for name in mounted if name in own.mounts.buckets}
    if any(name not in own.mounts.buckets for name in mounted) or "" in names:
        names.add(own.mounts.secret)
    for name in sorted(names - {""}):
        yield WantedSecret(namespace, name, store)
    if own.csi.secret_for:
        claimed = [name for name, mode in modes.items() if mode == "csi"]
        for secret in sorted({own.csi.secret.replace("{bucket}", name) for name in claimed}):
            yield WantedSecret(namespace, secret)
    if own.openeo.enabled:
        yield WantedSecret(namespace, own.openeo.secret, frozenset({"client-secret"}))
    if own.monitoring.scrape.enabled:
        yield WantedSecret(namespace, own.monitoring.scrape.secret, frozenset({"token"}))


def buckets(settings: Settings) -> list[str]:
    """Every bucket of the virtual organisations once."""
    vos = settings.vos.storages() if settings.vos else ()
    return list(dict.fromkeys(bucket for vo in vos for bucket in vo.buckets))


def _mode(settings: Settings, bucket: str) -> str:
    cluster = settings.kubernetes
    return cluster.bucket_settings(bucket).mode if cluster else "none"


def _client_keys(settings: Settings) -> frozenset[str]:
    file = settings.identity.client_secret_file
    return frozenset({file.name} if file and file.parent == settings.secrets_folder else ())


def _secret(
    wanted: WantedSecret, keys_of: Callable[[str, str], set[str] | None] | None
) -> Iterator[Finding]:
    where = f"Secret/{wanted.namespace}/{wanted.name}"
    named = f" with the keys {', '.join(sorted(wanted.keys))}" if wanted.keys else ""
    if keys_of is None:
        yield Finding("remark", where, f"has to be there{named}; no cluster was asked")
        return
    try:
        there = keys_of(wanted.namespace, wanted.name)
    except DeployError as error:
        yield Finding("error", where, error.message)
        return
    if there is None:
        yield Finding("error", where, f"is not there, or has nothing in it; make it{named}")
    elif missing := sorted(wanted.keys - there):
        yield Finding("error", where, f"has no {', '.join(missing)}")


def _images(values: ValueFiles, settings: Settings) -> Iterator[Finding]:
    image = member(values.merged, "singleuser", "image")
    pulled = f"{image.get('name')}:{image.get('tag')}"
    if settings.kubernetes and settings.kubernetes.image != pulled:
        yield Finding(
            "remark",
            "singleuser.image",
            f"{pulled} is brought to the nodes ahead, and servers have {settings.kubernetes.image}",
        )


def _walk(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _walk(value, (*path, str(name)))
    elif isinstance(values, list):
        for number, value in enumerate(values):
            yield from _walk(value, (*path, str(number)))
    else:
        yield path, values


def _plain_secrets(values: Mapping[str, Any]) -> Iterator[Finding]:
    for path, value in _walk(values):
        if isinstance(value, str) and value and _SECRET_KEY.search(path[-1]):
            yield Finding(
                "error", ".".join(path), "is a secret in the values; name a Secret of the cluster"
            )


def _examples(values: Mapping[str, Any]) -> Iterator[Finding]:
    for path, value in _walk(values):
        for text in (str(value), path[-1]):
            if _EXAMPLE.search(text):
                yield Finding(
                    "remark", ".".join(path), f"{text} stands for what only the site knows"
                )


def _security(release: Release, manifest: Manifest) -> Iterator[Finding]:
    spec = _pod_spec(manifest)
    if spec is None or manifest["metadata"]["name"] in _PRIVILEGED:
        return
    where = f"{release.name}: {name_of(manifest)}"
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            context = container.get("securityContext") or {}
            added = (context.get("capabilities") or {}).get("add") or ()
            if context.get("privileged") or "SYS_ADMIN" in added:
                yield Finding("error", where, f"container {container['name']} is privileged")
            if str(container.get("image", "")).endswith(":latest"):
                yield Finding(
                    "remark", where, f"container {container['name']} has no fixed version"
                )


def _pod_spec(manifest: Manifest) -> dict[str, Any] | None:
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "Pod":
        return dict(spec)
    found = spec.get("template", {}).get("spec") if isinstance(spec, dict) else None
    return dict(found) if isinstance(found, dict) and "containers" in found else None
