"""A hub with its sign-in and nothing else, as its operator sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cscale_hub.local.lifecycle import Federation
from cscale_hub.local.secrets import read_secret

WITHOUT = ("s3", "catalogue", "site-b", "mqs", "openeo", "slurm")
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 24" width="48" height="24">'
    '<rect width="48" height="24" rx="4" fill="#1a5fb4"/><circle cx="24" cy="12" r="7" '
    'fill="#ffffff"/></svg>'
)
VOS: dict[str, Any] = {
    "profiles": {
        "small": {"title": "Small", "purpose": "Maps and a few scenes.", "cpu": 1, "memory": "2Gi"},
        "large": {"title": "Large", "purpose": "Whole scenes.", "cpu": 2, "memory": "3Gi"},
    },
    "vos": {
        "aquamonitor.c-scale.eu": {
            "title": "Aquamonitor",
            "entitlement": {"group": "aquamonitor.c-scale.eu"},
            "roles": {"member": ["member"], "manager": ["manager"]},
            "profiles": {"member": ["small", "large"], "manager": ["small", "large"]},
            "quota": {"cpu_hours_month": 100, "servers": 1},
            "shared_notebooks": {"co_editing": True},
            "bucket": "aquamonitor",
        },
        "waterwatch.c-scale.eu": {
            "title": "Water Watch",
            "entitlement": {"group": "waterwatch.c-scale.eu"},
            "profiles": {"member": ["small"]},
            "bucket": "waterwatch",
        },
    },
}
ANNOUNCEMENTS = [
    {
        "text": "The object store <b>rests</b> on Tuesday.",
        "level": "warning",
        "link": "https://status.example.org/",
    },
    {"text": "Long over.", "ends": "2020-01-01T00:00:00Z"},
    {"text": "Only for who signs in.", "pages": ["login"]},
]


@dataclass
class Operated:
    """The federation, and what its operator reads."""

    federation: Federation

    @property
    def url(self) -> str:
        return self.federation.hub_url

    def events(self) -> list[dict[str, Any]]:
        """The audit log so far."""
        lines = self.federation.layout.audit.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def metrics(self) -> str:
        """What Prometheus gets."""
        token = read_secret(self.federation.layout.secrets / "prometheus-token")
        answer = httpx.get(
            f"{self.url}/hub/metrics", headers={"Authorization": f"token {token}"}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture(scope="package")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    (folder / "scenes").mkdir()
    (folder / "logo.svg").write_text(LOGO, encoding="utf-8")
    settings = {
        "vos": VOS,
        "hub": {"title": "Sea & Land <Hub>"},
        "branding": {
            "logo_file": str(folder / "logo.svg"),
            "accent": "#1a5fb4",
            "tagline": "Everything about <water>.",
            "links": [{"title": "Terms of use", "url": "https://example.org/terms"}],
        },
        "catalogue": {"backend": "sqlite"},
    }
    federation = Federation(
        folder / "data", archive_root=folder / "scenes", without=WITHOUT, settings=settings
    )
    with federation:
        announced: Path = federation.layout.announcements
        announced.write_text(yaml.safe_dump(ANNOUNCEMENTS), encoding="utf-8")
        yield Operated(federation)
