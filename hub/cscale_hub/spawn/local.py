"""Users' servers as processes of this machine, for the local federation.

There is no isolation between users here: all servers run as the account that started the hub.
What is kept apart all the same, because it is the same on a cluster: each user's home, site file
and Jupyter folders, an environment without secrets but JupyterHub's own, and S3 credentials that
reach only the user's prefixes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import yaml
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import default

from cscale_hub.auth.login import entitlements
from cscale_hub.local.layout import Layout
from cscale_hub.local.processes import FEDERATION_VARIABLE
from cscale_hub.local.run import bound_to_parent, open_log
from cscale_hub.local.secrets import write_secret
from cscale_hub.local.system import fuse, unmount_below
from cscale_hub.profiles import Profile
from cscale_hub.settings import Settings
from cscale_hub.sharing.editing import edits_together
from cscale_hub.sharing.servers import SharingSpawner
from cscale_hub.spawn.choice import ChoosingSpawner
from cscale_hub.spawn.machine import available, limiter
from cscale_hub.spawn.notebooks import copy_notebooks
from cscale_hub.spawn.server_configuration import configuration
from cscale_hub.spawn.site import site_document
from cscale_hub.spawn.watched import WatchedSpawner
from cscale_hub.vos import roles_in_groups

MOUNT_FOLDER = "s3"
GETTING_STARTED = "Getting started.ipynb"
# Programs and language; nothing else of the hub's environment reaches a user's server.
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "JAVA_HOME", "TZ", "VIRTUAL_ENV")
_STEPS = (
    (10, "Preparing your home folder"),
    (30, "Starting JupyterLab"),
    (60, "Loading the C-SCALE extension and your buckets"),
    (80, "Almost there"),
)


class LocalSpawner(
    WatchedSpawner,
    SharingSpawner,
    ChoosingSpawner,
    SimpleLocalProcessSpawner,  # type: ignore[misc]
):
    """One process per user, with everything it writes below the data folder."""

    @property
    def layout(self) -> Layout:
        return Layout(self.cscale_settings.data)

    @property
    def state_folder(self) -> Path:
        return self.layout.user_state(self.user.name)

    @property
    def mount(self) -> Path:
        return Path(self.home_dir) / MOUNT_FOLDER

    @default("home_dir")  # type: ignore[untyped-decorator]
    def _default_home(self) -> str:
        return str(self.layout.user_home(self.user.name))

    @default("env_keep")  # type: ignore[untyped-decorator]
    def _default_env_keep(self) -> list[str]:
        return list(_KEPT)

    async def available(self, profile: Profile) -> str:
        """What this machine has free now."""
        return available(profile)

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """What the child does before it becomes the server: private files, no outliving the hub,
        the limits of its profile."""
        home = self.home_dir
        limit = limiter(self.offer.profile, self.user.name) if self.offer else None

        def prepare() -> None:
            os.umask(0o077)
            os.chdir(home)
            if limit is not None:
                limit()

        return bound_to_parent(prepare)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Home and Jupyter's folders: all below the data folder."""
        state = self.state_folder
        env.update(
            {
                "USER": self.user.name,
                "HOME": self.home_dir,
                "SHELL": "/bin/bash",
                "TMPDIR": str(state / "tmp"),
                "JUPYTER_CONFIG_PATH": str(state / "jupyter"),
                "JUPYTER_RUNTIME_DIR": str(state / "runtime"),
                "CSCALE_SITE_FILE": str(state / "site.yaml"),
                FEDERATION_VARIABLE: str(self.layout.data),
            }
        )
        return env

    async def start(self) -> Any:
        """Prepare the home and the site file, then start the server."""
        auth_state = await self.user.get_auth_state() or {}
        roles = roles_in_groups(group.name for group in self.user.groups)
        display_name = str(auth_state.get("display_name") or "")
        claims = entitlements(auth_state.get(self.authenticator.user_auth_state_key) or {})
        await asyncio.to_thread(self._prepare, display_name, roles, claims)
        self.default_url = self._first_page()
        log = open_log(self.layout.log(f"user-{self.user.name}"))
        self.popen_kwargs = {
            "stdin": subprocess.DEVNULL,
            "stdout": log,
            "stderr": subprocess.STDOUT,
        }
        try:
            return await super().start()
        finally:
            os.close(log)

    def _prepare(
        self, display_name: str, roles: dict[str, frozenset[str]], claims: list[str]
    ) -> None:
        """Everything on disk; runs in a thread."""
        home = Path(self.home_dir)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a server that was killed left mounted would answer nothing but errors.
        unmount_below(home)
        state = self.state_folder
        # The temporary folder stays: jobs outlive the server that started them.
        shutil.rmtree(state / "runtime", ignore_errors=True)
        for folder in (state, state / "tmp", state / "runtime", state / "jupyter" / "labconfig"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        profile = self.offer.profile if self.offer else None
        mode = mount_mode(self.cscale_settings, profile)
        vo = self.offer.vo if self.offer else ""
        together = edits_together(self.cscale_vos, vo)
        document = site_document(
            self.cscale_settings,
            self.cscale_vos,
            slug=self.user.name,
            display_name=display_name,
            roles=roles,
            mount=self.mount,
            mount_mode=mode,
            vo=vo,
            entitlements=claims,
        )
        write_secret(state / "site.yaml", yaml.safe_dump(document, sort_keys=False))
        files = configuration(
            self.cscale_settings, together=together, documents=state, as_root=os.geteuid() == 0
        )
        for name, text in files.items():
            (state / "jupyter" / name).write_text(text, encoding="utf-8")
        copy_notebooks(self.cscale_settings.spawn.notebooks, home)

    def _first_page(self) -> str:
        if (Path(self.home_dir) / GETTING_STARTED).is_file():
            return "/lab/tree/" + GETTING_STARTED.replace(" ", "%20")
        return "/lab"

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Messages a person understands, until the server answers."""
        for percent, message in _STEPS:
            yield {"progress": percent, "message": message}
            await asyncio.sleep(1.5)

    async def stop(self, now: bool = False) -> None:
        """Stop the server, then take away what it could not unmount any more."""
        await super().stop(now=now)
        left = await asyncio.to_thread(unmount_below, Path(self.home_dir))
        if left:
            self.log.error("Still mounted after the stop: %s", ", ".join(map(str, left)))


def mount_mode(settings: Settings, profile: Profile | None = None) -> str:
    """How this machine can show the buckets: as the profile says, the setting, or FUSE allows.

    The modes of a cluster mean nothing here.
    """
    chosen: str = settings.storage.mount_mode
    if profile is not None and profile.storage in ("fuse", "contents", "none"):
        chosen = profile.storage
    if chosen == "auto":
        return "fuse" if fuse().present else "contents"
    return chosen
