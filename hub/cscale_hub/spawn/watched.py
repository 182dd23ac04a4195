"""What is noted of every server: who asked for it and whether it was allowed, and its use.

:class:`WatchedSpawner` is put before the other parts of a spawner's class, so that it sees what
they refuse. A start that cannot be put on record does not happen; use that cannot be counted is
told in the log and does not stop anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from jupyterhub import orm
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from sqlalchemy.exc import SQLAlchemyError
from traitlets import Any as AnyTrait
from traitlets.config import LoggingConfigurable

from cscale_hub.accounting.meter import SEEN_SECONDS, Meter
from cscale_hub.accounting.records import UsageRecord, declared
from cscale_hub.audit import AuditLog, ServerEvent
from cscale_hub.auth.login import entitlements
from cscale_hub.profiles import Offer
from cscale_hub.quotas import Used

# Names of VOs and profiles are shorter; what somebody asked for by REST can be anything.
_WORDS = 80


class WatchedSpawner(LoggingConfigurable):  # type: ignore[misc]  # traitlets is not typed
    """Put first: writes the audit log and the records of use."""

    cscale_audit: AuditLog | None = AnyTrait(
        None, allow_none=True, help="The audit log; None: nothing is written."
    ).tag(config=True)
    cscale_meter: Meter | None = AnyTrait(
        None, allow_none=True, help="Records of use; None: nothing is counted."
    ).tag(config=True)

    offer: Offer | None
    _usage: UsageRecord | None = None
    _attributes = declared(())
    _running = False
    _noted = 0.0

    async def used(self, vo: str) -> Used:
        """What the person used of the VO's allowance, after a look at what has ended.

        While the records cannot be read nothing counts as used: nobody is kept from work for it.
        """
        await self._settle()
        try:
            return await super().used(vo)  # type: ignore[no-any-return]
        except SQLAlchemyError:
            self.log.exception("Records of use cannot be read; %s gets a server without", vo)
            return Used(own=0.0, everybody=0.0)

    async def run_auth_state_hook(self, auth_state: Mapping[str, Any] | None) -> None:
        """Take what the records of use tell of the person from the login that JupyterHub read."""
        said = (auth_state or {}).get(self.authenticator.user_auth_state_key)
        self._attributes = declared(entitlements(said or {}))
        await maybe_future(super().run_auth_state_hook(auth_state))

    async def run_pre_spawn_hook(self) -> None:
        """Put the question and its answer on record, and begin to count.

        :raises SpawnException: what was refused, or when the audit log cannot be written.
        """
        # What was asked for: a refusal forgets it.
        asked = dict(self.user_options or {})
        try:
            await super().run_pre_spawn_hook()
        except SpawnException as error:
            await self._tell("server.start", "refused", str(error.reason), asked)
            raise
        except Exception as error:
            await self._tell("server.start", "failed", type(error).__name__, asked)
            raise
        await self._tell("server.start", "allowed")
        await self._begin()

    async def start(self) -> Any:
        """Start it; a failure is on record too."""
        try:
            return await super().start()
        except Exception as error:
            await self._tell("server.start", "failed", type(error).__name__)
            raise

    async def poll(self) -> Any:
        """Look at it, and note now and then that it runs."""
        status = await super().poll()
        if status is None and time.monotonic() - self._noted >= SEEN_SECONDS:
            self._noted = time.monotonic()
            self._running = True
            await self._settle()
            if self.cscale_meter is not None:
                try:
                    self._usage = await self.cscale_meter.seen(
                        self.user.name, self.name, self._usage
                    )
                except SQLAlchemyError:
                    self.log.exception("The use of %s could not be noted", self._log_name)
        return status

    async def run_post_stop_hook(self) -> None:
        """It has stopped: end its record."""
        ended = None
        if self.cscale_meter is not None:
            try:
                # A hub that never saw it running finds it stopped: nobody knows since when.
                ended = await self.cscale_meter.end(
                    self.user.name, self.name, at_last_sight=not self._running
                )
            except SQLAlchemyError:
                self.log.exception("The use of %s could not be counted", self._log_name)
        if ended is not None or self._running:
            try:
                await self._tell("server.stop", "done")
            except SpawnException as error:
                self.log.error("The stop of %s is not on record: %s", self._log_name, error)
        self._usage, self._running = None, False
        await maybe_future(super().run_post_stop_hook())

    async def _settle(self) -> None:
        if self.cscale_meter is None:
            return
        try:
            await self.cscale_meter.settle(self._hubs_servers)
        except SQLAlchemyError:
            self.log.exception("Records of use could not be looked through; tried again later")

    def _hubs_servers(self) -> set[tuple[str, str]]:
        """Slug and name of every server that the hub's database knows to run."""
        rows = (
            self.db.query(orm.User.name, orm.Spawner.name)
            .join(orm.Spawner, orm.Spawner.user_id == orm.User.id)
            .filter(orm.Spawner.server_id.is_not(None))
        )
        return {(slug, name) for slug, name in rows}

    async def _begin(self) -> None:
        self._running = True
        self._noted = time.monotonic()
        if self.cscale_meter is None or self.offer is None:
            return
        await self._settle()
        try:
            self._usage = await self.cscale_meter.begin(
                self.user.name, self.name, self.offer, self._attributes
            )
        except SQLAlchemyError:
            self.log.exception("The use of %s could not be noted", self._log_name)

    async def _tell(
        self, action: Any, outcome: Any, code: str = "", asked: Mapping[str, Any] | None = None
    ) -> None:
        """Write to the audit log.

        :param asked: what was asked for, when it is not what the server has.
        :raises SpawnException: when it cannot be written.
        """
        if self.cscale_audit is None:
            return
        options = (self.user_options or {}) if asked is None else asked
        event = ServerEvent(
            action=action,
            outcome=outcome,
            user=self.user.name,
            server=self.name,
            vo=str(options.get("vo") or "")[:_WORDS],
            profile=str(options.get("profile") or "")[:_WORDS],
            code=code,
        )
        try:
            await asyncio.to_thread(self.cscale_audit.record, event)
        except OSError as error:
            self.log.exception("The audit log cannot be written")
            raise SpawnException(
                "The hub's audit log cannot be written, so no server is started. Your files are "
                "kept; tell the operator, who has to look at the hub's disk.",
                reason="audit",
                status_code=503,
            ) from error
