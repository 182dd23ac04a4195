"""Ends what is shared: with the server, and as soon as the rule does not allow it any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyterhub.orm import Share
from jupyterhub.utils import maybe_future
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import LoggingConfigurable

from cscale_hub.sharing.editing import edits_together
from cscale_hub.sharing.gate import check_share, vo_of
from cscale_hub.sharing.rule import NotShared
from cscale_hub.vo_model import VOFile


class SharingSpawner(LoggingConfigurable):  # type: ignore[misc]  # traitlets is not typed
    """Put before a spawner's class: nobody stays who would not be let in now."""

    cscale_vos: VOFile
    _may_be_shared = True
    """Whether somebody may be let in: always where the VO wants it, elsewhere from before, as the
    gate lets nobody in."""

    async def run_pre_spawn_hook(self) -> None:
        """A server starts with nobody let in, whatever became of the one before."""
        self._may_be_shared = True
        self._end_shares(lambda share: True)
        await super().run_pre_spawn_hook()

    async def poll(self) -> Any:
        """Look at it, and at who was let in: members leave VOs, and VOs change their minds."""
        status = await super().poll()
        together = edits_together(self.cscale_vos, vo_of(self.orm_spawner))
        if status is None and (together or self._may_be_shared):
            ended = self._end_shares(lambda share: not self._allowed(share))
            self._may_be_shared = together or not ended
        return status

    async def run_post_stop_hook(self) -> None:
        """It has stopped: what was shared is not shared any more."""
        self._end_shares(lambda share: True)
        await maybe_future(super().run_post_stop_hook())

    def _allowed(self, share: Share) -> bool:
        try:
            check_share(self.cscale_vos, share)
        except NotShared:
            return False
        return True

    def _end_shares(self, chosen: Callable[[Share], bool]) -> bool:
        """End some of the shares.

        :returns: whether none is left.
        """
        shares = self.db.query(Share).filter_by(spawner_id=self.orm_spawner.id).all()
        ending = [share for share in shares if chosen(share)]
        try:
            for share in ending:
                self.log.info("No longer shared: %r", share)
                self.db.delete(share)
            if ending:
                self.db.commit()
        except (SQLAlchemyError, OSError):
            # OSError: the audit log cannot be written. Looked at again at the next poll.
            self.db.rollback()
            self.log.exception("A share of %s could not be ended", self._log_name)
            return False
        return len(ending) == len(shares)
