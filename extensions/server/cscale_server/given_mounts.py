"""Buckets that somebody else mounts: the node, a CSI driver, or a container beside the server.

Here they are only looked at, each in a thread with a time limit, so that a mount that hangs is
shown and holds nothing up. Nothing is mounted, unmounted or repaired.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from logging import Logger, getLogger
from pathlib import Path
from typing import Literal

from cscale_core.site import Grant, Site
from cscale_server.mounts import (
    PROBE_LIMIT,
    GrantStatus,
    MountState,
    in_thread,
    link_shared,
    mounted_grants,
    status_inside,
)

_LOOK_INTERVAL = 10.0
_FIRST_LOOKS = 1.0
"""Seconds between looks as long as something is not there: mounts come after the server."""


class GivenMount:
    """One grant, as a folder that may or may not be mounted."""

    def __init__(self, grant: Grant, site: Site) -> None:
        self._grant = grant
        self._root = Path(site.mount)
        self._asking = False
        self.path = Path(site.mount) / grant.bucket / grant.prefix.strip("/")
        self._wanted = grant.bucket not in site.unmounted
        self.state: MountState = "starting" if self._wanted else "off"
        self.detail = "being mounted" if self._wanted else "not mounted here; reached by S3"

    def status(self) -> GrantStatus:
        """The present state, for the panel."""
        grant = self._grant
        return GrantStatus(
            str(self.path), grant.bucket, grant.prefix, grant.access, self.state, self.detail
        )

    async def look(self) -> None:
        """See whether it answers; nobody asks again as long as a question is not answered."""
        if not self._wanted or self._asking:
            return
        self._asking = True
        try:
            there = await in_thread(self._answers, PROBE_LIMIT)
        except TimeoutError:
            self.state, self.detail = "stalled", f"it has not answered for {PROBE_LIMIT:.0f} s"
        except OSError as error:
            words = f"it cannot be read ({error.strerror}); it is mounted anew by the site"
            self.state, self.detail = "stalled", words
        else:
            self.state = "ok" if there else "starting"
            self.detail = "" if there else "not mounted yet"

    def _answers(self) -> bool:
        """Whether something is mounted there, and can be listed; runs in a thread."""
        try:
            with os.scandir(self.path) as entries:
                next(entries, None)
            return self.path.stat().st_dev != self._root.stat().st_dev
        except FileNotFoundError:
            return False
        finally:
            self._asking = False


class GivenMounts:
    """All grants; the interface of :class:`cscale_server.mounts.Mounts`."""

    mode: Literal["given"] = "given"
    detail = ""

    def __init__(self, site: Site, log: Logger | None = None) -> None:
        self._site = site
        self._log = log or getLogger(__name__)
        self._grants = mounted_grants(site.grants)
        self.mounts = [GivenMount(grant, site) for grant in self._grants]
        self._task: asyncio.Task[None] | None = None

    def status(self) -> list[GrantStatus]:
        """The state of every grant."""
        found = [mount.status() for mount in self.mounts]
        inside = zip(self._grants.values(), list(found), strict=True)
        return [*found, *(status_inside(grant, one) for some, one in inside for grant in some)]

    async def start(self) -> None:
        """Begin to look, in the background."""
        self._task = asyncio.create_task(self._watch(), name="cscale given mounts")
        await link_shared(self._site, self._log)

    async def refresh(self) -> None:
        """Listings are the site's to renew; look whether they can be read."""
        await asyncio.gather(*(mount.look() for mount in self.mounts))

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        told: dict[Path, MountState] = {}
        while True:
            await self.refresh()
            for mount in self.mounts:
                if told.get(mount.path) != mount.state:
                    told[mount.path] = mount.state
                    self._log.info("%s: %s %s", mount.path, mount.state, mount.detail)
            waiting = any(mount.state in ("starting", "stalled") for mount in self.mounts)
            await asyncio.sleep(_FIRST_LOOKS if waiting else _LOOK_INTERVAL)
