"""Published notebooks on the real SeaweedFS, each person with what the broker gives them.

What a person may not do is refused by the store, so it does not help to go past our programs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cscale_core.errors import Forbidden, InvalidInput, NotFound
from cscale_core.notebooks.library import SharedNotebooks
from cscale_core.notebooks.places import NotebookRef
from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_hub.settings import Settings
from cscale_hub.spawn.site import site_document
from cscale_hub.storage import grants, reachable, session_policy
from cscale_hub.vo_model import VOFile
from tests.core.notebooks.doubles import code, notebook, submission

ALICE, BOB, CAROL = "ualiceaaaaaa", "ubobbbbbbbbb", "ucarolcccccc"
LAKE, SEA = "lake.example", "sea.example"
FILE = VOFile.model_validate(
    {
        "vos": {
            LAKE: {
                "title": "Lake",
                "entitlement": {"group": LAKE},
                "roles": {"member": ["member"], "manager": ["manager"], "guest": ["guest"]},
                "bucket": "lake-own",
                "shared_notebooks": {"publish": ["member"]},
            },
            SEA: {"title": "Sea", "entitlement": {"group": SEA}, "bucket": "sea-own"},
        }
    }
)
REF = NotebookRef(LAKE, ALICE, "water-quality")


@pytest.fixture(scope="module")
def server(make_store: Any) -> Any:
    made = make_store(vos=FILE.storages())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client_of(server: Any) -> Callable[..., Any]:
    """An S3 client with the keys of a person."""

    def make(slug: str, **roles: str) -> Any:
        policy = session_policy(reachable(grants(FILE.storages(), held(roles), slug)))
        return server.client(server.credentials(server.issuer.token(), policy))

    return make


@pytest.fixture
def library(client_of: Any, tmp_path: Path) -> Callable[..., SharedNotebooks]:
    """The library of a person: the site file that the hub writes, and their keys."""

    def make(slug: str, **roles: str) -> SharedNotebooks:
        document = site_document(
            Settings(data=tmp_path),
            FILE,
            slug=slug,
            display_name=slug.title(),
            roles=held(roles),
            mount=tmp_path / "s3",
            mount_mode="contents",
        )
        site = Site.model_validate(document)
        store = ObjectStore(site)
        store._client = client_of(slug, **roles)
        return SharedNotebooks(site, store)

    return make


def held(roles: dict[str, str]) -> dict[str, frozenset[str]]:
    return {{"lake": LAKE, "sea": SEA}[vo]: frozenset({role}) for vo, role in roles.items()}


def refused(call: Any, **parameters: Any) -> bool:
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    return False


def published(title: str) -> Any:
    return submission(notebook(code("1 + 1")), vo=LAKE, title=title)


def test_what_a_member_publishes_other_members_open_and_only_the_author_replaces(
    library: Any, client_of: Any, tmp_path: Path
) -> None:
    alice, bob = library(ALICE, lake="member"), library(BOB, lake="member")
    first = alice.publish(published("Water quality")).version
    assert alice.publish(published("Water quality")).version == first + 1
    assert bob.show(REF).preview.cells[0].source == "1 + 1"
    assert bob.open(REF, tmp_path / "copies").exists()
    with pytest.raises(Forbidden):
        bob.remove(REF)

    past_us = client_of(BOB, lake="member")
    for key in (
        f"{REF.prefix}v0001.ipynb",
        f"{REF.prefix}v0009.ipynb",
        f"shared/published/{ALICE}/new/v0001.json",
        f"shared/published/{BOB}/../{ALICE}/x",
        f"shared/published/{BOB}",
        "shared/published/x",
        "shared/x",
    ):
        assert refused(past_us.put_object, Bucket="lake-own", Key=key, Body=b"x"), key
        assert refused(past_us.delete_object, Bucket="lake-own", Key=key), key
    copied = {"Bucket": "lake-own", "Key": f"{REF.prefix}v0001.json"}
    source = {"Bucket": "lake-own", "Key": f"{REF.prefix}v0002.json"}
    assert refused(past_us.copy_object, CopySource=source, **copied)
    assert alice.remove(REF) == [first + 1, first]


def test_no_path_leads_out_of_what_is_given(client_of: Any, server: Any) -> None:
    """A policy compares text; the store has folders, and must not follow ``..`` in a key."""
    everything = server.superuser()
    secret = f"users/{ALICE}/secret"
    everything.put_object(Bucket="lake-own", Key=secret, Body=b"of Alice")
    bob = client_of(BOB, lake="member")
    for way in (
        f"users/{BOB}/../{ALICE}",
        f"products/../users/{ALICE}",
        f"shared/published/{BOB}/../../../users/{ALICE}",
        f"users/{BOB}//../{ALICE}",
        f"users/{BOB}/./../{ALICE}",
    ):
        key = f"{way}/secret"
        assert refused(bob.get_object, Bucket="lake-own", Key=key), key
        assert refused(bob.head_object, Bucket="lake-own", Key=key), key
        assert refused(bob.put_object, Bucket="lake-own", Key=key, Body=b"x"), key
        assert refused(bob.delete_object, Bucket="lake-own", Key=key), key
        assert refused(bob.create_multipart_upload, Bucket="lake-own", Key=key), key
        stolen = {"Bucket": "lake-own", "Key": f"users/{BOB}/stolen"}
        source = {"Bucket": "lake-own", "Key": key}
        assert refused(bob.copy_object, CopySource=source, **stolen), key
        listed = bob.list_objects_v2(Bucket="lake-own", Prefix=f"{way}/")
        assert listed.get("Contents", []) == [], way
    assert everything.get_object(Bucket="lake-own", Key=secret)["Body"].read() == b"of Alice"


def test_somebody_of_another_vo_gets_nothing_of_it(
    library: Any, client_of: Any, tmp_path: Path
) -> None:
    library(ALICE, lake="member").publish(published("Only ours"))
    ref = NotebookRef(LAKE, ALICE, "only-ours")
    carol = library(CAROL, sea="member")
    assert carol.gallery().notebooks == []
    for act in (carol.show, carol.picture, carol.remove, lambda one: carol.open(one, tmp_path)):
        with pytest.raises(NotFound):
            act(ref)
    with pytest.raises(InvalidInput):
        carol.publish(published("From elsewhere"))
    past_us = client_of(CAROL, sea="member")
    key = f"{ref.prefix}v0001.ipynb"
    assert refused(past_us.get_object, Bucket="lake-own", Key=key)
    assert refused(past_us.head_object, Bucket="lake-own", Key=key)
    assert refused(past_us.put_object, Bucket="lake-own", Key=key, Body=b"x")
    for prefix in ("shared/", "shared/published/", ref.prefix, f"shared/published/{CAROL}/", ""):
        assert refused(past_us.list_objects_v2, Bucket="lake-own", Prefix=prefix), prefix


def test_who_has_the_same_short_name_elsewhere_has_nothing_here(
    library: Any, client_of: Any
) -> None:
    library(ALICE, lake="member").publish(published("Of Alice"))
    elsewhere = client_of(ALICE, sea="member")
    key = f"shared/published/{ALICE}/of-alice/v0001.ipynb"
    assert refused(elsewhere.get_object, Bucket="lake-own", Key=key)
    assert refused(elsewhere.delete_object, Bucket="lake-own", Key=key)


def test_roles_are_held_to_the_rule_of_the_vo(library: Any, client_of: Any) -> None:
    library(ALICE, lake="member").publish(published("For guests too"))
    ref = NotebookRef(LAKE, ALICE, "for-guests-too")
    guest = library(CAROL, lake="guest")
    assert guest.show(ref).notebook.title == "For guests too"
    assert guest.gallery().publish == []
    with pytest.raises(Forbidden):
        guest.publish(published("No"))
    own = f"shared/published/{CAROL}/no/v0001.ipynb"
    past_us = client_of(CAROL, lake="guest")
    assert refused(past_us.put_object, Bucket="lake-own", Key=own, Body=b"x")
    curator = library(BOB, lake="manager")
    assert curator.remove(ref) == [1]
    with pytest.raises(NotFound):
        guest.show(ref)
