"""Holds JupyterHub to the rule of sharing, where all its ways of sharing meet: in its database.

There are pages, a REST API and codes; what the rule does not allow is not written, whoever asks.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.orm import Share, ShareCode
from sqlalchemy import event
from sqlalchemy.orm import Session
from tornado.web import HTTPError

from cscale_hub.sharing.rule import (
    NotShared,
    check_group,
    check_person,
    check_scopes,
    check_server,
)
from cscale_hub.vo_model import VOFile

_NO_CODES = (
    "Codes would let in whoever has them, so none are made. Share the server with its virtual "
    "organisation, or with a member of it by name."
)

_listening: list[Any] = []


class ShareRefused(HTTPError):
    """An answer in words, on pages and of the REST API."""

    def __init__(self, message: str) -> None:
        super().__init__(403, message.replace("%", "%%"))
        self.jupyterhub_message = message


def check_share(vos: VOFile, share: Share) -> None:
    """See that a share is allowed, as things are now.

    :raises NotShared: when not.
    """
    owner, server = share.owner, share.spawner
    vo = vo_of(server)
    check_server(vos, vo, names(owner))
    check_scopes(share.scopes, owner.name, server.name)
    if share.group is not None:
        check_group(vo, share.group.name)
    elif share.user is not None:
        check_person(vo, names(share.user))
    else:
        raise NotShared("The share is of nobody.")


def hold_shares(vos: VOFile) -> None:
    """Refuse, from now on in this process, what the rule does not allow.

    Before anything is written, and before what listens to that: nobody puts on record what does
    not happen. The rule that was held to before is forgotten.
    """

    def held(session: Session, context: Any, instances: Any) -> None:
        with session.no_autoflush:
            for each in [*session.new, *session.dirty]:
                try:
                    if isinstance(each, ShareCode):
                        raise NotShared(_NO_CODES)
                    if isinstance(each, Share):
                        check_share(vos, each)
                except NotShared as error:
                    _forget(session, each)
                    raise ShareRefused(str(error)) from error

    while _listening:
        event.remove(Session, "before_flush", _listening.pop())
    _listening.append(held)
    event.listen(Session, "before_flush", held)


def _forget(session: Session, refused: Share | ShareCode) -> None:
    """Leave nothing of it behind that would be written with the next thing that is."""
    if refused not in session.new:
        session.expire(refused)
        return
    lists = {
        "owner": type(refused).__tablename__,
        "spawner": type(refused).__tablename__,
        "user": "shared_with_me",
        "group": "shared_with_me",
    }
    others = [(getattr(refused, side, None), name) for side, name in lists.items()]
    session.expunge(refused)
    for other, name in others:
        if other is not None and other in session:
            session.expire(other, [name])


def vo_of(server: Any) -> str:
    """The VO that a server runs for; empty where none is known."""
    return str((server.user_options or {}).get("vo") or "")


def names(person: Any) -> list[str]:
    """The hub groups of a person."""
    return [group.name for group in person.groups]
