"""What a server's pod wants of the mounted buckets, and the tree in which it sees it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cscale_hub.node.mounts import MountFailed, mounted_below, run
from cscale_hub.node.places import Place, Wanted
from cscale_hub.node.tree import Tree
from cscale_hub.places import StorageError

OWN = Place("aqua", "users/uabc/", True)
PRODUCTS = Place("aqua", "products/", False)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def test_an_annotation_is_read_as_it_was_written() -> None:
    wanted = Wanted((OWN, PRODUCTS, Place("eodata", "", False)), "aqua/users/uabc")
    assert Wanted.of(wanted.text()) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"places": [["aqua/../../etc", "rw"]], "me": ""}',
        '{"places": [["../etc", "ro"]], "me": ""}',
        '{"places": [["aqua", "all"]], "me": ""}',
        '{"places": [], "me": "../../etc"}',
        '{"places": [["/etc", "ro"]], "me": ""}',
    ],
)
def test_what_cannot_be_a_place_is_refused(text: str) -> None:
    with pytest.raises(StorageError):
        Wanted.of(text)


def test_blanks_in_mount_points_are_read(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    info.write_text(
        "36 35 0:51 / /a\\040b/c rw,nosuid shared:1 - fuse.rclone x rw\n"
        "37 35 0:52 / /a\\040b/c ro,nosuid - fuse.rclone y rw\n"
        "38 35 0:53 / /elsewhere rw - ext4 z rw\n",
        encoding="utf-8",
    )
    found = mounted_below(Path("/a b"), info)
    assert list(found) == [Path("/a b/c")]
    # The one on top.
    assert found[Path("/a b/c")].device == "0:52"
    assert found[Path("/a b/c")].read_only


async def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(MountFailed, match="no-such-folder"):
        await run("ls", "/no-such-folder")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    """A node's folder with one bucket mounted."""
    mount_bucket(tmp_path)
    yield tmp_path
    for path in sorted(mounted_below(tmp_path), reverse=True):
        subprocess.run(["umount", "--lazy", str(path)], check=False)


def mount_bucket(node: Path, text: str = "first") -> None:
    bucket = node / "buckets" / "aqua"
    bucket.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(bucket)], check=True)
    (bucket / "products").mkdir()
    (bucket / "products" / "a.txt").write_text(text, encoding="utf-8")
    (bucket / "users" / "other").mkdir(parents=True)


def unmount_bucket(node: Path) -> None:
    subprocess.run(["umount", "--lazy", str(node / "buckets/aqua")], check=True)


@needs_root
async def test_only_its_own_places_are_in_a_servers_tree(node: Path) -> None:
    tree = Tree(node, "server-uabc")
    await tree.keep(Wanted((OWN, PRODUCTS), "aqua/users/uabc"))
    assert sorted(path.name for path in (tree.path / "aqua" / "users").iterdir()) == ["uabc"]
    (tree.path / "me" / "mine.txt").write_text("mine", encoding="utf-8")
    assert (node / "buckets/aqua/users/uabc/mine.txt").read_text("utf-8") == "mine"
    with pytest.raises(OSError, match="Read-only"):
        (tree.path / "aqua/products/b.txt").write_text("x", encoding="utf-8")


@needs_root
async def test_a_bucket_that_was_mounted_anew_is_bound_anew(node: Path) -> None:
    tree = Tree(node, "server-uabc")
    wanted = Wanted((OWN, PRODUCTS))
    await tree.keep(wanted)
    bound = mounted_below(tree.path)
    await tree.keep(wanted)
    assert mounted_below(tree.path) == bound
    unmount_bucket(node)
    await tree.keep(wanted)
    # Nothing better is there yet.
    assert (tree.path / "aqua/products/a.txt").read_text("utf-8") == "first"
    mount_bucket(node, "second")
    await tree.keep(wanted)
    assert (tree.path / "aqua/products/a.txt").read_text("utf-8") == "second"
    assert len(mounted_below(tree.path)) == 2


@needs_root
async def test_what_is_no_longer_wanted_goes_and_its_files_stay(node: Path) -> None:
    tree = Tree(node, "server-uabc")
    await tree.keep(Wanted((OWN, PRODUCTS), "aqua/users/uabc"))
    (tree.path / "me" / "mine.txt").write_text("mine", encoding="utf-8")
    await tree.keep(Wanted((PRODUCTS,)))
    assert list(mounted_below(tree.path)) == [tree.path / "aqua/products"]
    assert not (tree.path / "me").is_symlink()
    await tree.remove()
    assert not tree.path.exists()
    assert (node / "buckets/aqua/users/uabc/mine.txt").read_text("utf-8") == "mine"


@needs_root
async def test_a_place_that_is_not_there_is_tried_again(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_hub.node.tree._FIRST_PAUSE", 0.0)
    tree = Tree(node, "server-uabc")
    bucket = node / "buckets/aqua"
    await run("mount", "-o", "remount,ro", bucket)
    wanted = Wanted((PRODUCTS, Place("aqua", "later/", False)))
    await tree.keep(wanted)
    shown = mounted_below(tree.path)
    assert list(shown) == [tree.path / "aqua/products"]
    await run("mount", "-o", "remount,rw", bucket)
    await tree.keep(wanted)
    found = mounted_below(tree.path)
    assert found.keys() == {tree.path / "aqua/products", tree.path / "aqua/later"}
    # What was there is as it was: files in it may be open.
    assert found[tree.path / "aqua/products"] == shown[tree.path / "aqua/products"]


@needs_root
async def test_a_file_of_somebody_is_never_removed(node: Path) -> None:
    tree = Tree(node, "server-uabc")
    await tree.keep(Wanted((PRODUCTS,)))
    (tree.path / "left.txt").write_text("mine", encoding="utf-8")
    await tree.remove()
    assert (tree.path / "left.txt").read_text("utf-8") == "mine"
