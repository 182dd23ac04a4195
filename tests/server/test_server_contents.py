"""Buckets in Jupyter's contents API, against a real SeaweedFS, as JupyterLab uses it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from cscale_server import app as app_module

HOME = "s3/aquamonitor/users/utest"


@pytest.fixture
async def server(
    start_server: Any, store: Any, make_site: Any, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setattr(app_module, "NoBroker", lambda: broker)
    return await start_server(make_site(store.endpoint))


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["name"] for entry in answer.json()["content"]]


async def test_the_tree_shows_what_is_granted_and_nothing_else(server: Any, store: Any) -> None:
    store.write("secret/plan.txt", b"no")
    store.write("users/uother/file.txt", b"no")
    store.write("products/s2/item/B03.tif", b"x")
    assert "s3" in names(await server.contents("GET", ""))
    assert names(await server.contents("GET", "s3")) == ["aquamonitor"]
    assert names(await server.contents("GET", "s3/aquamonitor")) == [
        "archive",
        "products",
        "users",
    ]
    assert names(await server.contents("GET", "s3/aquamonitor/users")) == ["utest"]
    assert names(await server.contents("GET", "s3/aquamonitor/products/s2/item")) == ["B03.tif"]
    for path in ("secret", "secret/plan.txt", "users/uother", "users/uother/file.txt"):
        answer = await server.contents("GET", f"s3/aquamonitor/{path}")
        assert answer.status_code == 404, path
    assert (await server.contents("GET", "s3/other")).status_code == 404
    escape = await server.contents("GET", f"{HOME}/%2E%2E/uother/file.txt")
    assert escape.status_code == 404


async def test_an_empty_grant_is_a_folder(server: Any) -> None:
    assert (await server.contents("GET", HOME)).json()["content"] == []


async def test_text_and_bytes_come_back_as_they_were(server: Any, store: Any) -> None:
    text = {"type": "file", "format": "text", "content": "prüfen\n"}
    assert (await server.contents("PUT", f"{HOME}/a.txt", json=text)).status_code == 201
    assert store.read("users/utest/a.txt") == "prüfen\n".encode()
    model = (await server.contents("GET", f"{HOME}/a.txt?hash=1")).json()
    assert (model["format"], model["content"], model["writable"]) == ("text", "prüfen\n", True)
    assert model["hash"]

    data = bytes(range(256))
    binary = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}
    await server.contents("PUT", f"{HOME}/b.bin", json=binary)
    assert store.read("users/utest/b.bin") == data
    model = (await server.contents("GET", f"{HOME}/b.bin")).json()
    assert model["format"] == "base64"
    assert base64.b64decode(model["content"]) == data
    answer = await server.contents("GET", f"{HOME}/b.bin?format=text&type=file")
    assert answer.status_code == 400


async def test_a_notebook_is_saved_opened_and_has_a_checkpoint(server: Any) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    path = f"{HOME}/analysis.ipynb"
    body = {"type": "notebook", "format": "json", "content": notebook}
    assert (await server.contents("PUT", path, json=body)).status_code == 201
    model = (await server.contents("GET", path)).json()
    assert model["content"]["cells"][0]["source"] == "1 + 1"
    assert (await server.contents("POST", f"{path}/checkpoints")).status_code == 201
    notebook.cells[0].source = "changed"
    await server.contents("PUT", path, json=body)
    checkpoint = (await server.contents("GET", f"{path}/checkpoints")).json()[0]["id"]
    await server.contents("POST", f"{path}/checkpoints/{checkpoint}")
    model = (await server.contents("GET", path)).json()
    assert model["content"]["cells"][0]["source"] == "1 + 1"
    assert not (server.home / "s3").exists()


async def test_an_upload_in_chunks_is_one_object_that_appears_when_it_is_whole(
    server: Any, store: Any
) -> None:
    data = os.urandom(2_500_000)
    parts = [data[:1_000_000], data[1_000_000:2_000_000], data[2_000_000:]]
    for number, part in zip((1, 2, -1), parts, strict=True):
        assert "users/utest/big.bin" not in store.keys("users/")
        body = {
            "type": "file",
            "format": "base64",
            "chunk": number,
            "content": base64.b64encode(part).decode(),
        }
        answer = await server.contents("PUT", f"{HOME}/big.bin", json=body)
        assert answer.status_code in (200, 201), answer.text
    assert store.read("users/utest/big.bin") == data


async def test_folders_are_made_renamed_and_deleted_when_empty(server: Any, store: Any) -> None:
    made = await server.contents("POST", HOME, json={"type": "directory"})
    assert made.status_code == 201
    folder = made.json()["path"]
    assert made.json()["name"] in names(await server.contents("GET", HOME))
    text = {"type": "file", "format": "text", "content": "x"}
    await server.contents("PUT", f"{folder}/f.txt", json=text)
    renamed = await server.contents("PATCH", folder, json={"path": f"{HOME}/renamed"})
    assert renamed.status_code == 200, renamed.text
    assert store.read("users/utest/renamed/f.txt") == b"x"
    full = await server.contents("DELETE", f"{HOME}/renamed")
    assert full.status_code == 400
    assert (await server.contents("DELETE", f"{HOME}/renamed/f.txt")).status_code == 204
    assert (await server.contents("DELETE", f"{HOME}/renamed")).status_code == 204
    assert not store.keys("users/utest/renamed/")


async def test_files_move_between_the_home_folder_and_a_bucket(server: Any, store: Any) -> None:
    (server.home / "local.txt").write_text("home")
    moved = await server.contents("PATCH", "local.txt", json={"path": f"{HOME}/moved.txt"})
    assert moved.status_code == 200, moved.text
    assert store.read("users/utest/moved.txt") == b"home"
    assert not (server.home / "local.txt").exists()
    back = await server.contents("PATCH", f"{HOME}/moved.txt", json={"path": "back.txt"})
    assert back.status_code == 200, back.text
    assert (server.home / "back.txt").read_text() == "home"
    assert "users/utest/moved.txt" not in store.keys("users/")


async def test_a_copy_is_another_object(server: Any, store: Any) -> None:
    store.write("users/utest/a.txt", b"same")
    answer = await server.contents("POST", HOME, json={"copy_from": f"{HOME}/a.txt"})
    assert answer.status_code == 201, answer.text
    assert store.read("users/utest/a-Copy1.txt") == b"same"


async def test_an_existing_name_is_not_overwritten_by_a_rename(server: Any, store: Any) -> None:
    store.write("users/utest/a.txt", b"a")
    store.write("users/utest/b.txt", b"b")
    answer = await server.contents("PATCH", f"{HOME}/a.txt", json={"path": f"{HOME}/b.txt"})
    assert answer.status_code == 409
    assert store.read("users/utest/b.txt") == b"b"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "s3/aquamonitor/archive/new.txt", {"type": "file", "content": "x"}),
        ("DELETE", "s3/aquamonitor/archive/old.txt", None),
        ("PATCH", "s3/aquamonitor/archive/old.txt", {"path": f"{HOME}/stolen.txt"}),
        ("PATCH", f"{HOME}/mine.txt", {"path": "s3/aquamonitor/archive/put.txt"}),
        ("DELETE", HOME, None),
        ("PATCH", "s3/aquamonitor/products", {"path": f"{HOME}/products"}),
        ("PUT", "s3/aquamonitor/stray.txt", {"type": "file", "content": "x"}),
        ("PUT", "s3/stray.txt", {"type": "file", "content": "x"}),
    ],
)
async def test_what_is_not_given_for_writing_stays(
    server: Any, store: Any, method: str, path: str, body: Any
) -> None:
    store.write("archive/old.txt", b"old")
    store.write("users/utest/mine.txt", b"mine")
    before = store.keys()
    arguments = {} if body is None else {"json": body}
    answer = await server.contents(method, path, **arguments)
    assert answer.status_code in (403, 404), answer.text
    assert store.keys() == before


async def test_a_file_too_large_to_open_says_how_to_read_it(server: Any, store: Any) -> None:
    server.app.contents_manager.max_open_size = 1000
    store.write("users/utest/large.tif", bytes(2000))
    answer = await server.contents("GET", f"{HOME}/large.tif")
    assert answer.status_code == 413
    assert "s3://aquamonitor/users/utest/large.tif" in answer.json()["message"]
    shown = await server.contents("GET", f"{HOME}/large.tif?content=0")
    assert shown.json()["size"] == 2000


async def test_downloads_are_streamed_with_ranges(server: Any, store: Any) -> None:
    data = os.urandom(9_000_000)
    store.write("users/utest/scene.tif", data)
    whole = await server.http.get(f"files/{HOME}/scene.tif")
    assert whole.content == data
    part = await server.http.get(f"files/{HOME}/scene.tif", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    end = await server.http.get(f"files/{HOME}/scene.tif", headers={"Range": "bytes=-5"})
    assert end.content == data[-5:]
    beyond = await server.http.get(f"files/{HOME}/scene.tif", headers={"Range": "bytes=9000000-"})
    assert beyond.status_code == 416
    assert (await server.http.get("files/s3/aquamonitor/secret/x")).status_code == 404
    assert (await server.http.get(f"files/{HOME}/none")).status_code == 404
    (server.home / "plain.txt").write_text("local")
    assert (await server.http.get("files/plain.txt")).text == "local"


async def test_downloads_need_a_login(server: Any, store: Any) -> None:
    store.write("users/utest/x.txt", b"x")
    answer = await server.http.get(f"files/{HOME}/x.txt", headers={"Authorization": "token no"})
    assert answer.status_code in (302, 403)


async def test_the_home_folder_is_as_ever(server: Any) -> None:
    text = {"type": "file", "format": "text", "content": "x"}
    assert (await server.contents("PUT", "here.txt", json=text)).status_code == 201
    assert (server.home / "here.txt").read_text() == "x"
    assert "here.txt" in names(await server.contents("GET", ""))


async def test_a_store_that_is_down_is_an_error_in_words(
    start_server: Callable[..., Any], make_site: Any, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "NoBroker", lambda: broker)
    server = await start_server(make_site("http://127.0.0.1:9"))
    answer = await server.contents("GET", HOME)
    assert answer.status_code == 502
    assert "cannot be" in answer.json()["message"]
    assert "s3" in names(await server.contents("GET", ""))


async def test_a_broker_that_is_down_is_an_error_in_words(
    start_server: Any, store: Any, make_site: Any
) -> None:
    server = await start_server(make_site(store.endpoint))
    answer = await server.contents("GET", HOME)
    assert answer.status_code == 502
    assert "credentials" in answer.json()["message"]


async def test_a_contents_manager_chosen_by_the_operator_is_kept(
    start_server: Any, make_site: Any
) -> None:
    from traitlets.config import Config

    chosen = "jupyter_server.services.contents.filemanager.AsyncFileContentsManager"
    server = await start_server(
        make_site(), Config({"ServerApp": {"contents_manager_class": chosen}})
    )
    assert type(server.app.contents_manager).__name__ == "AsyncFileContentsManager"
