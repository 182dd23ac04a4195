"""Two people in one server edit a notebook at once, in the home folder and in a bucket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jupyter_ydoc import YNotebook
from pycrdt import YMessageType, create_sync_message, create_update_message, handle_sync_message
from tornado.websocket import WebSocketClientConnection, websocket_connect
from traitlets.config import Config

from cscale_hub.sharing.editing import with_editing
from cscale_server import app as app_module
from tests.core.notebooks.doubles import code, notebook
from tests.waiting import soon


class Editor:
    """One person's JupyterLab, as far as a document goes."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        self.notebook = YNotebook()
        self.notebook.ydoc.observe(self._tell)

    def _tell(self, event: Any) -> None:
        self._socket.write_message(create_update_message(event.update), binary=True)

    async def follow(self) -> None:
        """Take in what the server sends, for ever."""
        await self._socket.write_message(create_sync_message(self.notebook.ydoc), binary=True)
        while (message := await self._socket.read_message()) is not None:
            if isinstance(message, bytes) and message[0] == YMessageType.SYNC:
                reply = handle_sync_message(message[1:], self.notebook.ydoc)
                if reply is not None:
                    await self._socket.write_message(reply, binary=True)

    @property
    def sources(self) -> list[str]:
        """What the cells say."""
        return [cell["source"] for cell in self.notebook.get()["cells"]]


@asynccontextmanager
async def editing(server: Any, path: str) -> AsyncIterator[Editor]:
    body = {"format": "json", "type": "notebook"}
    answer = await server.http.put(f"api/collaboration/session/{quote(path)}", json=body)
    assert answer.status_code in (200, 201), answer.text
    session = answer.json()
    room = f"json:notebook:{session['fileId']}"
    base = str(server.http.base_url).replace("http", "ws", 1)
    socket = await websocket_connect(
        f"{base}api/collaboration/room/{room}?sessionId={session['sessionId']}&token=only-for-tests",
        connect_timeout=120,
    )
    editor = Editor(socket)
    following = asyncio.create_task(editor.follow())
    try:
        yield editor
    finally:
        socket.close()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
async def server(
    start_server: Any,
    store: Any,
    make_site: Any,
    broker: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.setattr(app_module, "NoBroker", lambda: broker)
    kept = tmp_path / "kept"
    kept.mkdir()
    before = {"ServerApp": {"jpserver_extensions": {"cscale_server": True}}}
    return await start_server(make_site(store.endpoint), Config(with_editing(before, True, kept)))


@pytest.mark.parametrize("path", ["lake.ipynb", "s3/aquamonitor/users/utest/lake.ipynb"])
async def test_what_one_writes_the_other_sees_and_the_file_has(server: Any, path: str) -> None:
    body = {"type": "notebook", "format": "json", "content": notebook(code("one"))}
    assert (await server.contents("PUT", path, json=body)).status_code == 201
    async with editing(server, path) as alice, editing(server, path) as bob:
        await soon(
            lambda: alice.sources == ["one"] and bob.sources == ["one"], "the notebook at both"
        )
        alice.notebook.append_cell(code("of alice"))
        bob.notebook.append_cell(code("of bob"))
        for editor in (alice, bob):
            await soon(
                lambda editor=editor: editor.sources,
                "the cells of both",
                fits=lambda seen: sorted(seen) == ["of alice", "of bob", "one"],
            )
        assert alice.sources == bob.sources

        async def saved() -> bool:
            answer = await server.contents("GET", path)
            if answer.status_code == 400:  # half a file: it is written in place
                return False
            cells = answer.json()["content"]["cells"]
            return [cell["source"] for cell in cells] == alice.sources

        await soon(saved, "the file with the cells of both", pause=0.1)
    hidden = [entry.name for entry in server.home.iterdir() if entry.name.startswith(".jupyter")]
    assert hidden == []


async def test_elsewhere_there_is_nothing_of_it(
    start_server: Any, make_site: Any, tmp_path: Path
) -> None:
    before = {"ServerApp": {"jpserver_extensions": {"cscale_server": True}}}
    server = await start_server(make_site(), Config(with_editing(before, False, tmp_path)))
    (server.home / "lake.ipynb").write_text(json.dumps(notebook(code("x"))), encoding="utf-8")
    body = {"format": "json", "type": "notebook"}
    answer = await server.http.put("api/collaboration/session/lake.ipynb", json=body)
    assert answer.status_code in (403, 404, 405)
    assert (await server.contents("GET", "lake.ipynb")).status_code == 200
