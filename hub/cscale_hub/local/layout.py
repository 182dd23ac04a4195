"""Where everything of the local federation lies below one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below the data folder. :meth:`create` makes the folders, private to the user."""

    data: Path

    @property
    def secrets(self) -> Path:
        return self.data / "secrets"

    @property
    def run(self) -> Path:
        """What is true only while it runs, and the ports that are used again."""
        return self.data / "run"

    @property
    def programs(self) -> Path:
        """What the launcher starts (``NAME.json``) and what it started (``NAME.state.json``)."""
        return self.run / "programs"

    @property
    def config(self) -> Path:
        """The services' configuration files; no secrets in them."""
        return self.run / "config"

    @property
    def temporary(self) -> Path:
        return self.run / "tmp"

    @property
    def home(self) -> Path:
        """HOME of the hub and the services, so that caches stay inside the data folder."""
        return self.run / "home"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def ports(self) -> Path:
        return self.run / "ports.json"

    @property
    def settings(self) -> Path:
        return self.run / "cscale.yaml"

    @property
    def hub_config(self) -> Path:
        return self.run / "jupyterhub_config.py"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def hub(self) -> Path:
        return self.data / "hub"

    @property
    def audit(self) -> Path:
        """The audit log, where the settings name no other."""
        return self.logs / "audit.jsonl"

    @property
    def announcements(self) -> Path:
        """The announcements, where the settings name no other file."""
        return self.data / "announcements.yaml"

    @property
    def usage(self) -> Path:
        """The records of use, where the settings name no other database."""
        return self.hub / "usage.sqlite"

    @property
    def users(self) -> Path:
        return self.data / "users"

    def service(self, name: str) -> Path:
        """The folder in which a service keeps its data."""
        return self.data / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def user_home(self, slug: str) -> Path:
        return self.users / slug

    def user_state(self, slug: str) -> Path:
        """What belongs to one user's server and is not the user's own data."""
        return self.run / "users" / slug

    def create(self) -> None:
        """Make the folders, readable by nobody else."""
        folders = (
            self.data,
            self.secrets,
            self.run,
            self.programs,
            self.config,
            self.temporary,
            self.home,
            self.logs,
            self.hub,
            self.users,
            self.run / "users",
        )
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if folder is not self.data:
                folder.chmod(0o700)
