"""Who may let whom into which server: the VO that it runs for decides, and only its members come.

A share gives access to the server and nothing else. Codes, which let in whoever has them, are never
made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cscale_hub.vo_model import VOFile
from cscale_hub.vos import GROUP_PREFIX


class NotShared(Exception):
    """Nobody was let in; the message says why and what to do."""


def check_server(vos: VOFile, vo: str, owner_groups: Iterable[str]) -> None:
    """See that the owner may let others into a server.

    :param vo: the VO that the server runs for.
    :param owner_groups: the hub groups of its owner.
    :raises NotShared: when the VO does not want it, or the owner is no member any more.
    """
    known = vos.vos.get(vo)
    if known is None or not known.shared_notebooks.co_editing:
        title = known.title if known is not None else "No virtual organisation"
        raise NotShared(
            f"{title} does not let others into this server. Nothing was shared: publish the "
            "notebook, or start a server for a virtual organisation that wants it."
        )
    if f"{GROUP_PREFIX}{vo}" not in set(owner_groups):
        raise NotShared(
            f"You are not a member of {known.title} any more, so its servers are shared by others."
        )


def check_group(vo: str, group: str) -> None:
    """See that a group is the VO, or of those with a role in it.

    :raises NotShared: when it is anything else.
    """
    if group != f"{GROUP_PREFIX}{vo}" and not group.startswith(f"{GROUP_PREFIX}{vo}:"):
        raise NotShared(f"A server that runs for {vo} is shared with its members only.")


def check_person(vo: str, groups: Iterable[str]) -> None:
    """See that a person is a member of the VO.

    :param groups: the hub groups of the person.
    :raises NotShared: when not. Whether there is such a person is not told.
    """
    if f"{GROUP_PREFIX}{vo}" not in set(groups):
        raise NotShared(f"A server that runs for {vo} is shared with its members only.")


def check_scopes(scopes: Collection[str], owner: str, server: str) -> None:
    """See that nothing but access is given.

    :raises NotShared: when there is more.
    """
    if set(scopes) != {access_scope(owner, server)}:
        raise NotShared("Others can be let into a server; they cannot be given more than that.")


def access_scope(owner: str, server: str) -> str:
    """What a share gives."""
    return f"access:servers!server={owner}/{server}"
