"""Users' servers as processes of this machine, for the local federation.

There is no isolation between users here: all servers run as the account that started the hub.
What is kept apart all the same, because it is the same on a cluster: each user's home, site file
and Jupyter folders, an environment without secrets but JupyterHub's own, and S3 credentials that
reach only the user's prefixes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import yaml
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import default

from cscale_hub.announcement_feed import PATH as FEED
from cscale_hub.auth.login import entitlements
from cscale_hub.local.layout import Layout
from cscale_hub.local.processes import FEDERATION_VARIABLE
from cscale_hub.local.run import bound_to_parent, open_log
from cscale_hub.local.secrets import write_secret
from cscale_hub.local.system import fuse, unmount_below
from cscale_hub.profiles import Profile
from cscale_hub.settings import Settings, public_url
from cscale_hub.sharing.editing import disabled_in_front_end, edits_together, with_editing
from cscale_hub.sharing.servers import SharingSpawner
from cscale_hub.spawn.choice import ChoosingSpawner
from cscale_hub.spawn.machine import available, limiter
from cscale_hub.spawn.site import site_document
from cscale_hub.spawn.watched import WatchedSpawner
from cscale_hub.vos import roles_in_groups

MOUNT_FOLDER = "s3"
GETTING_STARTED = "Getting started.ipynb"
# A front-end extension that would ask servers on the internet: jupyter-fs with its web fonts (it
# comes with other packages; its server side is not used here).
_DISABLED_EXTENSIONS = ("jupyter-fs",)
# JupyterLab shows the hub's announcements in place of Jupyter's news, and asks nobody for updates.
_FRONT_END_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "true", "checkForUpdates": False}
}
_COPIED = ".notebooks-copied"
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
        config = with_editing(server_config(self.cscale_settings), together, state)
        (state / "jupyter" / "jupyter_server_config.json").write_text(
            json.dumps(config, indent=1), encoding="utf-8"
        )
        disabled = (*_DISABLED_EXTENSIONS, *disabled_in_front_end(together))
        (state / "jupyter" / "labconfig" / "page_config.json").write_text(
            json.dumps({"disabledExtensions": dict.fromkeys(disabled, True)}),
            encoding="utf-8",
        )
        (state / "jupyter" / "labconfig" / "default_setting_overrides.json").write_text(
            json.dumps(_FRONT_END_SETTINGS), encoding="utf-8"
        )
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


def server_config(settings: Settings) -> dict[str, Any]:
    """Configuration of every user's Jupyter server."""
    return {
        "ServerApp": {
            "jpserver_extensions": {"cscale_server": True, "jupyter_server_proxy": True},
            "allow_root": os.geteuid() == 0,
        },
        # A trash folder on a mounted bucket would be outside what the user may write.
        "FileContentsManager": {"delete_to_trash": False},
        "LabApp": {
            "news_url": f"{public_url(settings)}/hub{FEED}",
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        },
        "CScaleExtension": {
            "longest_staging": settings.culling.longest_staging_hours,
            "longest_computing": settings.culling.longest_computing_hours,
        },
    }


def copy_notebooks(source: Path | None, home: Path) -> list[str]:
    """Copy notebooks that the home never had; the user's own files are never touched.

    A notebook the user deleted does not come back.

    :returns: the names that were copied.
    """
    if source is None or not source.is_dir():
        return []
    note = home / _COPIED
    known = set(note.read_text(encoding="utf-8").splitlines()) if note.exists() else set()
    copied: list[str] = []
    for notebook in sorted(source.glob("*.ipynb")):
        if notebook.name in known:
            continue
        target = home / notebook.name
        if not target.exists():
            shutil.copyfile(notebook, target)
            copied.append(notebook.name)
        known.add(notebook.name)
    note.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    return copied
