"""Announcements for people who are in JupyterLab: ``/hub/announcements.atom``.

JupyterLab shows the entries of a feed as notifications, each once (``LabApp.news_url``); users'
servers fetch it from the hub. It is as public as the sign-in page, which says the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree import ElementTree

from jupyterhub.handlers.base import BaseHandler

from cscale_hub.announcements import Announcement, Announcements

PATH = "/announcements.atom"
BOARD_SETTING = "cscale_announcements"
_ATOM = "http://www.w3.org/2005/Atom"


class FeedHandler(BaseHandler):  # type: ignore[misc]  # JupyterHub is not typed
    """The announcements of now as an Atom feed (RFC 4287)."""

    def get(self) -> None:
        """The feed; empty where nothing is announced."""
        board: Announcements = self.settings[BOARD_SETTING]
        self.set_header("Content-Type", "application/atom+xml; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.finish(feed(board.on("lab"), board.changed))


def feed(announcements: Iterable[Announcement], changed: datetime) -> str:
    """The feed's document.

    :param changed: when the announcements were changed last.
    """
    ElementTree.register_namespace("", _ATOM)
    root = ElementTree.Element(f"{{{_ATOM}}}feed")

    def add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
        member = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}")
        member.text = text or None
        return member

    add(root, "id", "urn:cscale:announcements")
    add(root, "title", "Announcements")
    add(root, "updated", _time(changed))
    for each in announcements:
        entry = add(root, "entry")
        # Another text is another announcement, which is shown again.
        about = hashlib.sha256(f"{each.text}\0{each.begins}".encode()).hexdigest()[:32]
        add(entry, "id", f"urn:cscale:announcement:{about}")
        add(entry, "title", each.text)
        add(entry, "updated", _time(each.begins or changed))
        if each.link:
            add(entry, "link").set("href", each.link)
    return ElementTree.tostring(root, "unicode", xml_declaration=True)


def _time(moment: datetime) -> str:
    known = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


HANDLERS = [(PATH, FeedHandler)]
