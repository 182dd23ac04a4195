"""Publishing, looking, opening and taking down, by everybody who may and everybody who may not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import (
    DamagedData,
    Forbidden,
    InvalidInput,
    NotFound,
    UpstreamError,
)
from cscale_core.notebooks.card import MAX_CARD
from cscale_core.notebooks.places import NotebookRef
from tests.core.notebooks.doubles import (
    ALICE,
    BOB,
    OTHER_VO,
    VO,
    MemoryStore,
    code,
    markdown,
    notebook,
    output,
    picture_output,
    png,
    site_of,
    submission,
)

REF = NotebookRef(VO, ALICE, "water-quality")


def stored(memory: MemoryStore, kind: str, version: int = 1, ref: NotebookRef = REF) -> Any:
    address = ObjectAddress("aqua", f"{ref.prefix}v{version:04d}.{kind}")
    return json.loads(memory.objects[address][0])


def test_what_one_publishes_another_member_finds_looks_at_and_opens(
    library: Any, memory: MemoryStore, tmp_path: Path
) -> None:
    made = notebook(
        markdown("# Turbidity"),
        code("plot()", picture_output(png())),
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
    )
    entry = library().publish(submission(made, description="The lake, 2025."))
    assert entry.ref == f"{VO}|{ALICE}|water-quality"
    assert (entry.version, entry.versions, entry.mine, entry.picture) == (1, 1, True, True)

    bob = library(BOB)
    (found,) = bob.gallery().notebooks
    assert (found.title, found.author, found.vo, found.language) == (
        "Water quality",
        ALICE,
        VO,
        "python",
    )
    assert found.date == memory.clock  # of the store, not of the author's word
    assert not found.mine
    assert not found.may_remove
    shown = bob.show(REF)
    assert shown.provenance.image == "image@sha256:1"
    assert shown.provenance.source_sha256
    assert [cell.kind for cell in shown.preview.cells] == ["markdown", "code"]
    assert bob.picture(REF).startswith(b"\x89PNG")

    path = bob.open(REF, tmp_path / "Opened")
    copy = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert copy["metadata"]["cscale"]["opened"]["ref"] == str(REF)
    assert copy["metadata"]["cscale"]["published"]["author"] == ALICE
    again = library(BOB).open(REF, tmp_path / "Opened")
    assert again.name == "water-quality-1.ipynb"  # the first copy is Bob's work by now


def test_a_copy_that_is_published_says_what_it_began_as(library: Any, tmp_path: Path) -> None:
    library().publish(submission())
    bob = library(BOB)
    copy = json.loads(bob.open(REF, tmp_path).read_text(encoding="utf-8"))
    bob.publish(submission(copy, title="Mine now"))
    shown = library().show(NotebookRef(VO, BOB, "mine-now"))
    assert shown.provenance.opened_from == f"{REF} version 1"
    assert shown.provenance.author == BOB


def test_outputs_stay_or_go_as_the_author_says(library: Any, memory: MemoryStore) -> None:
    made = notebook(code("1", output(**{"text/plain": "a result"})), widgets={"state": {}})
    made["cells"][0]["metadata"] = {"trusted": True, "tags": ["keep"]}
    alice = library()
    alice.publish(submission(made, outputs=False))
    kept = stored(memory, "ipynb")
    assert kept["cells"][0]["outputs"] == []
    assert kept["cells"][0]["execution_count"] is None
    assert "widgets" not in kept["metadata"]
    assert kept["cells"][0]["metadata"] == {"tags": ["keep"]}
    alice.publish(submission(made, outputs=True))
    assert stored(memory, "ipynb", 2)["cells"][0]["outputs"]
    assert made["cells"][0]["outputs"]  # the author's own is as it was


def test_the_same_title_is_a_next_version_and_each_can_be_seen(library: Any) -> None:
    alice = library()
    for number in (1, 2, 3):
        assert alice.publish(submission(notebook(code(f"x = {number}")))).version == number
    bob = library(BOB)
    assert [one.version for one in bob.versions(REF)] == [3, 2, 1]
    assert bob.show(REF).preview.cells[0].source == "x = 3"
    assert bob.show(REF, 1).preview.cells[0].source == "x = 1"
    with pytest.raises(NotFound):
        bob.show(REF, 4)
    (entry,) = bob.gallery().notebooks
    assert entry.versions == 3


def test_two_that_are_published_at_once_are_two_versions(library: Any) -> None:
    alice = library()
    with ThreadPoolExecutor(6) as pool:
        several = [submission(notebook(code(f"x = {number}"))) for number in range(6)]
        versions = sorted(entry.version for entry in pool.map(alice.publish, several))
    assert versions == [1, 2, 3, 4, 5, 6]
    sources = {alice.show(REF, version).preview.cells[0].source for version in versions}
    assert len(sources) == 6


def test_a_publication_that_breaks_on_its_way_is_not_seen_and_can_be_tried_again(
    library: Any, memory: MemoryStore
) -> None:
    alice = library()

    def fail(address: ObjectAddress) -> None:
        if address.key.endswith(".json"):
            raise UpstreamError("The store is down.", retryable=True)

    store = alice._shelves[VO]._store
    store.before_put = fail
    with pytest.raises(UpstreamError):
        alice.publish(submission())
    assert library(BOB).gallery().notebooks == []
    store.before_put = lambda address: None
    assert alice.publish(submission()).version == 1


def test_taking_down_is_for_the_author_and_for_curators(library: Any) -> None:
    alice = library()
    alice.publish(submission())
    alice.publish(submission())
    for other in (library(BOB), library(BOB, aqua="reader")):
        with pytest.raises(Forbidden):
            other.remove(REF)
    assert alice.remove(REF, 1) == [1]
    curator = library("ucuratoraaa", aqua="curator")
    assert curator.gallery().notebooks[0].may_remove
    assert curator.remove(REF) == [2]
    for user in (ALICE, BOB):
        with pytest.raises(NotFound):
            library(user).show(REF)
    assert library().gallery().total == 0


def test_nothing_is_left_of_what_is_taken_down(library: Any, memory: MemoryStore) -> None:
    alice = library()
    alice.publish(submission(notebook(code("p", picture_output(png())))))
    assert len(memory.objects) == 3
    alice.remove(REF)
    assert memory.objects == {}


def test_roles_do_what_the_rule_gives_them_and_no_more(library: Any) -> None:
    reader = library(BOB, aqua="reader")
    assert reader.gallery().publish == []
    with pytest.raises(Forbidden, match="not publish"):
        reader.publish(submission())
    author = library("uauthoraaaa", aqua="author")
    author.publish(submission(title="By an author"))
    library().publish(submission())
    assert [one.title for one in author.gallery().notebooks] == ["By an author"]
    with pytest.raises(NotFound):
        author.show(REF)
    assert reader.gallery().total == 2


def test_somebody_of_another_vo_gets_nothing_and_is_told_nothing(
    library: Any, tmp_path: Path
) -> None:
    library().publish(submission())
    stranger = library(BOB, water="member")
    assert stranger.gallery().notebooks == []
    acts = (
        lambda: stranger.show(REF),
        lambda: stranger.versions(REF),
        lambda: stranger.version(REF, 1),
        lambda: stranger.picture(REF),
        lambda: stranger.open(REF, tmp_path),
        lambda: stranger.remove(REF),
    )
    said = set()
    for act in acts:
        with pytest.raises(NotFound) as told:
            act()
        said.add(told.value.message)
    missing = NotebookRef(VO, ALICE, "not-there")
    with pytest.raises(NotFound) as told:
        stranger.show(missing)
    assert said == {told.value.message}  # what is there and what is not look the same
    for vo in (VO, "", "../aqua"):
        with pytest.raises(InvalidInput):
            stranger.publish(submission(vo=vo))
    with pytest.raises(InvalidInput):
        stranger.gallery(vo=VO)
    assert list(tmp_path.iterdir()) == []


def test_a_vo_whose_store_is_down_does_not_hide_the_others(
    library: Any, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = library(ALICE, aqua="member", water="member")
    both.publish(submission())

    def down(bucket: str, prefix: str = "") -> Any:
        if bucket == "water":
            raise UpstreamError("The object store cannot be reached.")
        return original(bucket, prefix)

    store = both._shelves[VO]._store
    original = store.list
    monkeypatch.setattr(store, "list", down)
    gallery = both.gallery()
    assert gallery.total == 1
    assert gallery.failed == {OTHER_VO: "The object store cannot be reached."}
    with pytest.raises(UpstreamError):
        both.gallery(vo=OTHER_VO)


def test_the_gallery_is_searched_and_paged(library: Any) -> None:
    alice, bob = library(), library(BOB)
    for number in range(5):
        alice.publish(submission(title=f"Lake {number}", description="Chlorophyll-a"))
    bob.publish(submission(title="A river"))
    assert [one.title for one in alice.gallery(limit=2).notebooks] == ["A river", "Lake 4"]
    page = alice.gallery(limit=4)
    assert (page.next, page.total) == (4, 6)
    rest = alice.gallery(limit=4, offset=4)
    assert [one.title for one in rest.notebooks] == ["Lake 1", "Lake 0"]
    assert rest.next is None
    assert alice.gallery(text="chlorophyll LAKE 3").total == 1
    assert [one.author for one in alice.gallery(text=BOB).notebooks] == [BOB]
    assert alice.gallery(mine=True).total == 5
    assert alice.gallery(text="nothing like it").notebooks == []


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"not json",
        b"{}",
        b"[1, 2]",
        b'{"title": ""}',
        b'{"title": "x", "outputs": true, "provenance": {"author": {}}}',
        b"\xff\xfe",
        b'{"title": "' + b"x" * MAX_CARD + b'"}',
        b"[" * 5000,
    ],
)
def test_a_card_that_is_none_costs_the_notebook_its_title_and_nothing_more(
    library: Any, memory: MemoryStore, hostile: bytes
) -> None:
    library().publish(submission())
    memory.objects[ObjectAddress("aqua", f"{REF.prefix}v0001.json")] = (
        hostile or b" ",
        memory.clock,
    )
    library(BOB).publish(submission(title="A sound one"))
    titles = {one.title for one in library(BOB).gallery().notebooks}
    assert titles == {"A sound one", "water-quality"}
    assert library(BOB).show(REF).provenance is None


def test_a_card_cannot_say_who_wrote_it_or_when(library: Any, memory: MemoryStore) -> None:
    library().publish(submission())
    card = stored(memory, "json")
    card["provenance"] |= {"author": BOB, "vo": OTHER_VO, "date": "1970-01-01"}
    address = ObjectAddress("aqua", f"{REF.prefix}v0001.json")
    memory.objects[address] = (json.dumps(card).encode(), memory.clock)
    (entry,) = library(BOB).gallery().notebooks
    assert (entry.author, entry.vo, entry.date, entry.mine) == (ALICE, VO, memory.clock, False)


@pytest.mark.parametrize(
    "hostile",
    [b"x", b"{}", b'{"cells": 1}', b"\x00" * 100, b"[" * 100_000, b'{"nbformat": 99}'],
)
def test_what_is_no_notebook_is_neither_shown_nor_opened(
    library: Any, memory: MemoryStore, tmp_path: Path, hostile: bytes
) -> None:
    library().publish(submission())
    memory.objects[ObjectAddress("aqua", f"{REF.prefix}v0001.ipynb")] = (hostile, memory.clock)
    bob = library(BOB)
    for act in (lambda: bob.show(REF), lambda: bob.open(REF, tmp_path)):
        with pytest.raises(DamagedData):
            act()
    assert list(tmp_path.iterdir()) == []


def test_other_things_below_the_prefix_are_passed_over(library: Any, memory: MemoryStore) -> None:
    library().publish(submission())
    base = f"shared/published/{ALICE}"
    for key in (
        f"{base}/v0001.json",
        f"{base}/x/../y/v0001.json",
        f"{base}/Name With Blank/v0001.json",
        f"{base}/deep/er/v0001.json",
        f"{base}/water-quality/v1.json",
        f"{base}/water-quality/v00001.json",
        f"{base}/only-a-card/v0001.json",
        f"{base}/only-a-notebook/v0001.ipynb",
        f"{base}/water-quality/v٠٠٠١.json",
        "shared/published/..%2Fevil/x/v0001.json",
        "shared/readme.md",
    ):
        memory.objects[ObjectAddress("aqua", key)] = (b"{}", memory.clock)
    assert [one.ref for one in library(BOB).gallery().notebooks] == [str(REF)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a|b",
        f"{VO}|{ALICE}|x|y",
        f"{VO}|..|x",
        f"{VO}|{ALICE}|..",
        f"{VO}|{ALICE}|a/../../b",
        f"{VO}|{ALICE}|a%2F..%2Fb",
        f"{VO}|{ALICE}/../{BOB}|x",
        f"{VO}|{ALICE}|x\n",
        f"{VO}|{ALICE}|X",
        f"{VO}|*|x",
        f"{VO}|{ALICE}|" + "x" * 81,
        "\x00|\x00|\x00",
    ],
)
def test_what_is_no_reference_never_becomes_a_key(text: str) -> None:
    with pytest.raises(InvalidInput):
        NotebookRef.parse(text)


def test_references_come_back_from_their_text() -> None:
    assert NotebookRef.parse(str(REF)) == REF


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Über  Wässer", "uber-wasser"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("x" * 200, "x" * 80),
        ("a" * 79 + " b", "a" * 79),
    ],
)
def test_names_are_made_of_titles(library: Any, title: str, name: str) -> None:
    entry = library().publish(submission(title=title))
    assert entry.ref.rpartition("|")[2] == name
    assert entry.title == " ".join(title.split())


@pytest.mark.parametrize("title", ["水", "🦆", "   ", "---"])
def test_a_title_of_which_no_name_is_left_is_refused(library: Any, title: str) -> None:
    with pytest.raises(InvalidInput, match="no letter or digit"):
        library().publish(submission(title=title))


def test_a_huge_notebook_is_refused_and_says_what_to_do(library: Any, memory: MemoryStore) -> None:
    made = notebook(code("x", output(**{"image/png": "A" * (25 * 1024 * 1024)})))
    with pytest.raises(InvalidInput) as told:
        library().publish(submission(made))
    assert "24 MiB" in told.value.message
    assert "without its outputs" in told.value.hint
    assert memory.objects == {}
    assert library().publish(submission(made, outputs=False)).version == 1


def test_the_place_for_copies_may_be_closed_or_full(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library().publish(submission())
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    with pytest.raises(Forbidden, match="cannot be written"):
        library(BOB).open(REF, blocked)


def test_somebody_without_a_vo_has_an_empty_gallery(memory: MemoryStore) -> None:
    from cscale_core.notebooks.library import SharedNotebooks

    site = site_of(ALICE)
    gallery = SharedNotebooks(site, memory.of(site)).gallery()  # type: ignore[arg-type]
    assert (gallery.notebooks, gallery.publish, gallery.total) == ([], [], 0)
