"""The page on which people let others of their VO into their running server, and out again."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler
from tornado import web

from cscale_hub.sharing.gate import names, vo_of
from cscale_hub.sharing.rule import NotShared, check_person, check_server
from cscale_hub.vo_model import VOFile
from cscale_hub.vos import GROUP_PREFIX

PATH = "/shared-server"
"""Of the page, below the hub."""

VOS_SETTING = "cscale_vos"
"""Of the web application: the accepted VOs."""

_ONLY_MEMBERS = "There is no member of {vo} with that short name. Nobody was let in."


@dataclass(frozen=True, slots=True)
class SharedServer:
    """What the page tells of one running server."""

    name: str
    url: str
    vo: str
    refused: str
    """Why others cannot be let in; empty: they can."""
    shares: tuple[tuple[int, str], ...]
    """Number and name of who was let in."""


class SharedServerHandler(BaseHandler):  # type: ignore[misc]  # JupyterHub is not typed
    """Shows and changes what the person shares."""

    @property
    def vos(self) -> VOFile:
        """The accepted VOs."""
        found: VOFile = self.settings[VOS_SETTING]
        return found

    @web.authenticated
    async def get(self) -> None:
        await self._page()

    @web.authenticated
    async def post(self) -> None:
        server = self._server(self.get_body_argument("server", ""))
        ended = self.get_body_argument("end", "")
        if ended:
            self._end(server, ended)
        else:
            try:
                self._share(server, self.get_body_argument("person", "").strip())
            except NotShared as error:
                self.set_status(403)
                await self._page(str(error))
                return
        self.redirect(self.hub.base_url.rstrip("/") + PATH)

    async def _page(self, refused: str = "") -> None:
        person = self.current_user
        running = [each for each in person.spawners.values() if each.ready]
        self.finish(
            await self.render_template(
                "shared_server.html",
                servers=[self._told(each.orm_spawner) for each in running],
                short_name=person.name,
                refused=refused,
                action=self.hub.base_url.rstrip("/") + PATH,
            )
        )

    def _server(self, name: str) -> orm.Spawner:
        spawner = (
            self.current_user.spawners.get(name) if name in self.current_user.spawners else None
        )
        if spawner is None or not spawner.ready:
            raise web.HTTPError(404, "You have no such server running.")
        return spawner.orm_spawner

    def _told(self, server: orm.Spawner) -> SharedServer:
        vo = vo_of(server)
        try:
            check_server(self.vos, vo, names(self.current_user))
            refused = ""
        except NotShared as error:
            refused = str(error)
        return SharedServer(
            name=server.name,
            url=self.current_user.server_url(server.name),
            vo=self.vos.vos[vo].title if vo in self.vos.vos else vo,
            refused=refused,
            shares=tuple(
                (share.id, _name(share))
                for share in self.db.query(orm.Share).filter_by(spawner_id=server.id)
            ),
        )

    def _share(self, server: orm.Spawner, person: str) -> None:
        """Let a person in.

        Not a group: JupyterHub 6.1 keeps shares of groups, and does not count them when somebody
        comes to the server (tokens have the shares of their owner alone).

        :raises NotShared: when the rule does not allow it.
        """
        vo = vo_of(server)
        check_server(self.vos, vo, names(self.current_user))
        found = orm.User.find(self.db, name=person)
        try:
            if found is None or found.name == self.current_user.name:
                raise NotShared("There is nobody.")
            check_person(vo, names(found))
        except NotShared as error:
            # The same words for who is not there and who is elsewhere.
            raise NotShared(_ONLY_MEMBERS.format(vo=vo)) from error
        orm.Share.grant(self.db, server, found)

    def _end(self, server: orm.Spawner, number: str) -> None:
        share = (
            self.db.query(orm.Share).filter_by(spawner_id=server.id, id=int(number)).one_or_none()
            if number.isdecimal() and len(number) < 16
            else None
        )
        if share is not None:
            self.db.delete(share)
            self.db.commit()


def _name(share: orm.Share) -> str:
    if share.group is not None:
        return f"all of {share.group.name.removeprefix(GROUP_PREFIX)}"
    return str(share.user.name)
