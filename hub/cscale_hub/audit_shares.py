"""Puts on record whom people let into their servers, whichever way they do it.

JupyterHub has several: shares with a person or a group, codes that become shares, and taking
each back one by one or all at once. They meet in its database, so that is where they are seen:
what cannot be put on record is not written.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.orm import Share, ShareCode
from sqlalchemy import event, select
from sqlalchemy.orm import ORMExecuteState, Session

from cscale_hub.audit import AuditLog, ShareEvent

CODE = "code"
"""Stands for everybody who is given the code."""


def record_shares(log: AuditLog) -> None:
    """See every share that this process makes or takes back, from now on."""

    def made(mapper: Any, connection: Any, target: Share | ShareCode) -> None:
        log.record(_event("share.create", target))

    def taken_back(mapper: Any, connection: Any, target: Share | ShareCode) -> None:
        log.record(_event("share.revoke", target))

    for kind in (Share, ShareCode):
        event.listen(kind, "before_insert", made)
        event.listen(kind, "before_delete", taken_back)

    @event.listens_for(Session, "do_orm_execute")
    def several_taken_back(state: ORMExecuteState) -> None:
        if not state.is_delete or state.bind_mapper is None:
            return
        kind = state.bind_mapper.class_
        if kind not in (Share, ShareCode):
            return
        chosen = select(kind)
        if (where := getattr(state.statement, "whereclause", None)) is not None:
            chosen = chosen.where(where)
        for share in state.session.scalars(chosen):
            log.record(_event("share.revoke", share))


def _event(action: Any, share: Share | ShareCode) -> ShareEvent:
    shared_with = CODE
    if isinstance(share, Share):
        if share.group is not None:
            shared_with = f"group:{share.group.name}"
        elif share.user is not None:
            shared_with = f"user:{share.user.name}"
    spawner = share.spawner
    return ShareEvent(
        action=action,
        outcome="done",
        user=share.owner.name if share.owner is not None else "",
        server=spawner.name if spawner is not None else "",
        vo=str((spawner.user_options or {}).get("vo") or "") if spawner is not None else "",
        shared_with=(shared_with,),
    )
