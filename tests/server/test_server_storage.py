"""The user's places in the object store over HTTP: browse, count, link, delete, upload."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from traitlets.config import Config

from cscale_core.errors import Forbidden
from cscale_core.objects import ObjectStore
from cscale_core.site import Grant
from cscale_server.backend import Backend
from cscale_server.storage import deletion as of_deletion
from cscale_server.storage import places as of_places

BUCKET = "aquamonitor"
MINE = "users/utest/"
PIECE = 5 * 1024 * 1024


class StorageBackend(Backend):
    """Nothing but storage."""

    async def start(self) -> None:
        self.jobs: Any = SimpleNamespace(problem=None)


@pytest.fixture
async def server(
    start_server: Any, make_site: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret0123456789")
    config = Config({"CScaleExtension": {"backend_class": StorageBackend}})
    return await start_server(make_site(store.endpoint), config)


async def objects(server: Any, prefix: str, **query: Any) -> Any:
    asked = {"bucket": BUCKET, "prefix": prefix, **query}
    answer = await server.api("GET", "storage/objects", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def begin(server: Any, key: str, size: int, **more: Any) -> httpx.Response:
    body = {"bucket": BUCKET, "key": key, "size": size, **more}
    answer: httpx.Response = await server.api("POST", "storage/uploads", json=body)
    return answer


async def send(server: Any, upload: str, at: int, data: bytes) -> httpx.Response:
    answer: httpx.Response = await server.api(
        "PUT", f"storage/uploads/{upload}?at={at}", content=data
    )
    return answer


async def test_places_are_listed_with_their_mounts(server: Any) -> None:
    listed = (await server.api("GET", "storage/places")).json()["places"]
    assert [(one["purpose"], one["access"], one["online"]) for one in listed] == [
        ("products", "rw", True),
        ("home", "rw", True),
        ("archive", "ro", True),
    ]
    assert listed[0]["mount"]["path"] == "s3/aquamonitor/products/"
    assert listed[0]["room"] is None


async def test_a_store_that_is_away_is_told_at_each_place(
    start_server: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret0123456789")
    monkeypatch.setattr(of_places, "_PROBE_SECONDS", 0.2)
    config = Config({"CScaleExtension": {"backend_class": StorageBackend}})
    server = await start_server(make_site(), config)
    listed = (await server.api("GET", "storage/places")).json()["places"]
    assert [one["online"] for one in listed] == [False] * 3
    assert all(one["problem"] for one in listed)


async def test_a_folder_is_browsed_page_by_page(server: Any, store: Any) -> None:
    # The store shows folders of other tests, although they are empty.
    top = f"{MINE}browsed/"
    for name in ("a.tif", "b.txt", "sub/c.txt", "sub/deep/d.txt", "zoo/e.txt"):
        store.write(top + name, b"12345")
    store.write(top, b"")
    whole = await objects(server, top)
    assert whole["folders"] == [f"{top}sub/", f"{top}zoo/"]
    assert [(one["key"], one["size"]) for one in whole["objects"]] == [
        (f"{top}a.tif", 5),
        (f"{top}b.txt", 5),
    ]
    assert whole["objects"][0]["layer"] == "object|aquamonitor|users%2Futest%2Fbrowsed%2Fa.tif"
    assert whole["objects"][1]["layer"] == ""
    for number in range(25):
        store.write(f"{top}sub/{number:02}", b"x")
    whole = await objects(server, f"{top}sub/")
    seen, after = [], ""
    while True:
        page = await objects(server, f"{top}sub/", limit=1, after=after)
        assert len(page["folders"]) + len(page["objects"]) <= 10
        seen += page["folders"] + [one["key"] for one in page["objects"]]
        after = page["next"]
        if not after:
            break
    assert sorted(seen) == sorted([*whole["folders"], *(one["key"] for one in whole["objects"])])


async def test_only_places_of_the_user_are_touched(server: Any, store: Any) -> None:
    store.write("users/other/secret.txt", b"secret")
    store.write("archive/old.txt", b"old")
    for prefix in ("", "users/", "users/other/", f"{MINE}../other/"):
        asked = {"bucket": BUCKET, "prefix": prefix}
        for route in ("objects", "usage"):
            answer = await server.api("GET", f"storage/{route}", params=asked)
            assert answer.status_code == 404, (route, prefix)
    other = {"bucket": BUCKET, "key": "users/other/secret.txt"}
    assert (await server.api("POST", "storage/links", json=other)).status_code == 404
    assert (await server.api("DELETE", "storage/objects", params=other)).status_code == 404
    assert (await begin(server, "users/other/x", 1)).status_code == 404
    old = {"bucket": BUCKET, "key": "archive/old.txt"}
    assert (await server.api("DELETE", "storage/objects", params=old)).status_code == 403
    assert (await begin(server, "archive/new.txt", 1)).status_code == 403
    assert (await server.api("POST", "storage/links", json=old)).status_code == 200
    assert store.keys() == ["archive/old.txt", "users/other/secret.txt"]


async def test_usage_is_counted_line_by_line(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_places, "_PAGE", 2)
    for name in ("a", "sub/b", "sub/c", "zoo/d"):
        store.write(MINE + name, b"x" * 10)
    answer = await server.api("GET", "storage/usage", params={"bucket": BUCKET, "prefix": MINE})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["type"] for line in lines] == ["counted", "counted", "usage"]
    assert lines[-1] == {
        "type": "usage",
        "objects": 4,
        "size": 40,
        "folders": {"sub/": 20, "": 10, "zoo/": 10},
        "complete": True,
    }
    monkeypatch.setattr(of_places, "MOST_COUNTED", 3)
    answer = await server.api("GET", "storage/usage", params={"bucket": BUCKET, "prefix": MINE})
    assert json.loads(answer.text.splitlines()[-1])["complete"] is False


async def test_a_link_gives_the_object_to_who_has_it(server: Any, store: Any) -> None:
    store.write(MINE + "ä b.txt", b"hello")
    body = {"bucket": BUCKET, "key": MINE + "ä b.txt", "seconds": 60}
    answer = await server.api("POST", "storage/links", json=body)
    assert answer.headers["Cache-Control"] == "no-store"
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(answer.json()["url"])).content == b"hello"
        answer = await server.api("POST", "storage/links", json=body | {"download": True})
        saved = await http.get(answer.json()["url"])
    assert saved.content == b"hello"
    assert "response-content-disposition=attachment" in answer.json()["url"]
    missing = await server.api("POST", "storage/links", json=body | {"key": MINE + "none"})
    assert missing.status_code == 404
    longest = await server.api("POST", "storage/links", json=body | {"seconds": 10**9})
    assert longest.status_code == 422


async def test_an_object_is_deleted_once(server: Any, store: Any) -> None:
    store.write(MINE + "a", b"x")
    asked = {"bucket": BUCKET, "key": MINE + "a"}
    assert (await server.api("DELETE", "storage/objects", params=asked)).status_code == 204
    assert store.keys() == []
    assert (await server.api("DELETE", "storage/objects", params=asked)).status_code == 404


async def delete_folder(server: Any, prefix: str, bucket: str = BUCKET) -> list[dict[str, Any]]:
    asked = {"bucket": bucket, "prefix": prefix}
    answer = await server.api("DELETE", "storage/folders", params=asked)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_folder_is_deleted_and_what_lies_beside_it_stays(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_deletion, "_STEP", 2)
    monkeypatch.setattr(of_deletion, "_PAGE", 3)
    for name in ("run/a", "run/b", "run/deep/c", "run/deep/", "run/", "running", "other/d"):
        store.write(MINE + name, b"12" if not name.endswith("/") else b"")
    lines = await delete_folder(server, f"{MINE}run/")
    assert [(line["type"], line["deleted"]) for line in lines] == [
        ("deleting", 0),
        ("deleting", 2),
        ("deleting", 3),
        *[("deleting", count) for count in range(4, lines[-1]["objects"] + 1)],
        ("deleted", lines[-1]["objects"]),
    ]
    assert lines[-1] | {"objects": 0, "deleted": 0} == {
        "type": "deleted",
        "objects": 0,
        "deleted": 0,
        "size": 6,
        "refused": [],
        "more": False,
    }
    assert store.keys() == [f"{MINE}other/d", f"{MINE}running"]
    assert f"{MINE}run/" not in (await objects(server, MINE))["folders"]
    asked = {"bucket": BUCKET, "prefix": f"{MINE}run/"}
    assert (await server.api("DELETE", "storage/folders", params=asked)).status_code == 404


async def test_a_folder_without_a_mark_is_gone_at_once(server: Any, store: Any) -> None:
    for name in ("run/a", "run/deep/er/b", "other/c"):
        store.write(MINE + name, b"12")
    await delete_folder(server, f"{MINE}run/")
    assert f"{MINE}run/" not in (await objects(server, MINE))["folders"]
    assert store.keys() == [f"{MINE}other/c"]


async def test_an_empty_folder_is_deleted_and_what_arrives_in_it_stays(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(f"{MINE}run/deep/a", b"12")
    store.empty()
    assert f"{MINE}run/" in (await objects(server, MINE))["folders"]
    last = (await delete_folder(server, f"{MINE}run/"))[-1]
    assert (last["objects"], last["deleted"]) == (0, 0)
    assert f"{MINE}run/" not in (await objects(server, MINE))["folders"]

    def arriving(*_: Any) -> bool:
        store.write(f"{MINE}run/deep/late", b"12")
        return True

    monkeypatch.setattr(of_deletion, "_is_shown", arriving)
    store.write(f"{MINE}run/deep/a", b"12")
    await delete_folder(server, f"{MINE}run/")
    assert store.keys() == [f"{MINE}run/deep/late"]


async def test_what_the_store_does_not_delete_is_kept_and_told(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletes = ObjectStore.delete

    def delete(self: ObjectStore, address: Any) -> None:
        if "locked" in address.key:
            raise Forbidden("It is locked.", hint="Ask who locked it.")
        deletes(self, address)

    monkeypatch.setattr(ObjectStore, "delete", delete)
    for name in ("a", "b.locked", "c"):
        store.write(f"{MINE}run/{name}", b"12")
    last = (await delete_folder(server, f"{MINE}run/"))[-1]
    why = "It is locked. Ask who locked it."
    assert (last["objects"], last["deleted"], last["size"]) == (3, 2, 4)
    assert last["refused"] == [{"key": f"{MINE}run/b.locked", "why": why}]
    assert store.keys() == [f"{MINE}run/b.locked"]
    monkeypatch.setattr(of_deletion, "_STEP", 1)
    monkeypatch.setattr(of_deletion, "MOST_REFUSED", 1)
    for name in ("c", "d"):
        store.write(f"{MINE}run/{name}", b"12")
    last = (await delete_folder(server, f"{MINE}run/"))[-1]
    assert (last["objects"], last["deleted"]) == (3, 0)


async def test_one_request_deletes_so_many_and_says_that_there_are_more(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_deletion, "MOST_DELETED", 2)
    for name in "abc":
        store.write(f"{MINE}run/{name}", b"1")
    last = (await delete_folder(server, f"{MINE}run/"))[-1]
    assert (last["deleted"], last["more"]) == (2, True)
    assert store.keys() == [f"{MINE}run/c"]
    last = (await delete_folder(server, f"{MINE}run/"))[-1]
    assert (last["deleted"], last["more"]) == (1, False)


async def test_deletion_ends_when_nobody_listens(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_deletion, "_STEP", 1)
    deletes, asked = ObjectStore.delete, list[str]()
    second, gone, done = threading.Event(), threading.Event(), threading.Event()

    def delete(self: ObjectStore, address: Any) -> None:
        asked.append(address.key)
        if len(asked) > 1:
            second.set()
            gone.wait(30)
        deletes(self, address)
        if len(asked) > 1:
            done.set()

    monkeypatch.setattr(ObjectStore, "delete", delete)
    for name in "abcde":
        store.write(f"{MINE}run/{name}", b"1")
    storage = await (await server.extension.backend()).storage()
    lines = storage.deletion.folder(BUCKET, f"{MINE}run/")
    assert json.loads(await anext(lines))["deleted"] == 1
    assert await asyncio.to_thread(second.wait, 30)
    await lines.aclose()
    gone.set()
    assert await asyncio.to_thread(done.wait, 30)
    await asyncio.sleep(0.3)  # in which the next would be deleted
    assert store.keys() == [f"{MINE}run/{name}" for name in "cde"]


async def test_no_place_and_nothing_of_others_is_deleted(server: Any, store: Any) -> None:
    store.write("archive/2024/old.txt", b"old")
    store.write("users/other/run/x.txt", b"x")
    store.write(f"{MINE}run/x.txt", b"x")
    for prefix, status in (
        ("", 422),
        (MINE, 422),
        (f"{MINE}run", 422),
        ("users/", 404),
        ("users/other/run/", 404),
        (f"{MINE}../other/", 404),
        ("archive/2024/", 403),
        (f"{MINE}none/", 404),
    ):
        asked = {"bucket": BUCKET, "prefix": prefix}
        answer = await server.api("DELETE", "storage/folders", params=asked)
        assert answer.status_code == status, prefix
    assert len(store.keys()) == 3


async def test_a_folder_that_holds_a_place_is_not_deleted(
    start_server: Any, make_site: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret0123456789")
    site = make_site(store.endpoint)
    whole = Grant(bucket=BUCKET, prefix="", access="rw", vo="aqua", purpose="shared")
    config = Config({"CScaleExtension": {"backend_class": StorageBackend}})
    server = await start_server(site.model_copy(update={"grants": (whole, *site.grants)}), config)
    store.write(f"{MINE}run/x.txt", b"x")
    answer = await server.api(
        "DELETE", "storage/folders", params={"bucket": BUCKET, "prefix": "users/"}
    )
    assert answer.status_code == 422
    assert "is a place" in answer.json()["message"]
    assert store.keys() == [f"{MINE}run/x.txt"]


async def test_an_upload_goes_on_in_another_server(
    server: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * (PIECE // 256) + b"the end"
    begun = (await begin(server, MINE + "new/large.bin", len(data))).json()
    assert begun["received"] == 0
    sent = await send(server, begun["id"], 0, data[:PIECE])
    assert sent.json()["received"] == PIECE
    assert store.keys() == []
    # What was known of it in memory is gone, as after a restart.
    backend = await server.extension.backend()
    backend._storage = None
    state = (await server.api("GET", f"storage/uploads/{begun['id']}")).json()
    assert state["received"] == PIECE
    early = await server.api("POST", f"storage/uploads/{begun['id']}/complete")
    assert (early.status_code, early.json()["details"]["received"]) == (409, PIECE)
    twice = await send(server, begun["id"], 0, data[:PIECE])
    assert (twice.status_code, twice.json()["details"]["received"]) == (409, PIECE)
    assert (await send(server, begun["id"], PIECE, data[PIECE:])).status_code == 200
    made = await server.api("POST", f"storage/uploads/{begun['id']}/complete")
    assert made.json()["size"] == len(data)
    assert store.read(MINE + "new/large.bin") == data
    gone = await server.api("GET", f"storage/uploads/{begun['id']}")
    assert gone.status_code == 404


async def test_pieces_of_a_wrong_size_are_refused(server: Any) -> None:
    begun = (await begin(server, MINE + "x", 3 * PIECE)).json()
    for at, data, status in (
        (0, b"small", 422),
        (0, b"", 422),
        (0, b"x" * (3 * PIECE + 1), 422),
        (5, b"x" * PIECE, 409),
    ):
        assert (await send(server, begun["id"], at, data)).status_code == status, (at, len(data))
    assert (await send(server, "bm9uZQ", 0, b"x")).status_code == 404


async def test_an_object_is_not_replaced_unasked(server: Any, store: Any) -> None:
    store.write(MINE + "a.txt", b"old")
    refused = await begin(server, MINE + "a.txt", 3)
    assert refused.status_code == 409
    begun = (await begin(server, MINE + "a.txt", 3, replace=True)).json()
    await send(server, begun["id"], 0, b"new")
    await server.api("POST", f"storage/uploads/{begun['id']}/complete")
    assert store.read(MINE + "a.txt") == b"new"


async def test_an_empty_file_can_be_uploaded(server: Any, store: Any) -> None:
    begun = (await begin(server, MINE + "empty.txt", 0)).json()
    made = await server.api("POST", f"storage/uploads/{begun['id']}/complete")
    assert made.json()["size"] == 0
    assert store.read(MINE + "empty.txt") == b""


async def test_an_upload_that_is_given_up_leaves_nothing(
    server: Any, store: Any, make_site: Any
) -> None:
    begun = (await begin(server, MINE + "given/up", PIECE)).json()
    await send(server, begun["id"], 0, b"x" * PIECE)
    assert (await server.api("DELETE", f"storage/uploads/{begun['id']}")).status_code == 204
    store_of_user = ObjectStore(make_site(store.endpoint))
    assert store_of_user.unfinished_uploads(BUCKET, MINE + "given/") == ()
    assert (await send(server, begun["id"], 0, b"x" * PIECE)).status_code == 404


async def test_names_that_no_file_can_have_are_refused(server: Any) -> None:
    for name in ("a//b", "../x", "a/./b", "a\nb", "a/", "ä" * 520):
        answer = await begin(server, MINE + name, 1)
        assert answer.status_code in (404, 422), name
    assert (await begin(server, MINE + "x", 10**15)).status_code == 422
    wrong = await begin(server, MINE + "x", 1, content_type="text/html\r\nX-Evil: 1")
    assert wrong.status_code == 422
