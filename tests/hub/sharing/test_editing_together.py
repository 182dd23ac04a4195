"""JupyterLab edits notebooks together where the VO wants it, and knows nothing of it elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from cscale_hub.sharing.editing import disabled_in_front_end, edits_together, with_editing
from cscale_hub.sharing.rule import NotShared, check_group, check_person, check_scopes, check_server
from cscale_hub.vo_model import VOFile

FILE = VOFile.model_validate(
    {
        "vos": {
            "aqua.example": {
                "title": "Aqua",
                "entitlement": {"group": "aqua"},
                "bucket": "aqua",
                "shared_notebooks": {"co_editing": True},
            },
            "water.example": {
                "title": "Water",
                "entitlement": {"group": "water"},
                "bucket": "water",
            },
        }
    }
)


@pytest.mark.parametrize(
    ("vo", "wanted"), [("aqua.example", True), ("water.example", False), ("", False)]
)
def test_the_vo_of_the_server_decides(vo: str, wanted: bool) -> None:
    assert edits_together(FILE, vo) is wanted


def test_where_it_is_not_wanted_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    before = {"ServerApp": {"jpserver_extensions": {"cscale_server": True}, "allow_root": False}}
    made = with_editing(before, False, tmp_path)
    assert made["ServerApp"] == {
        "jpserver_extensions": {
            "cscale_server": True,
            "jupyter_server_ydoc": False,
            "jupyter_server_fileid": False,
        },
        "allow_root": False,
    }
    assert set(disabled_in_front_end(False)) == {
        "@jupyter/collaboration-extension",
        "@jupyter/docprovider-extension",
    }
    assert disabled_in_front_end(True) == ()
    assert before["ServerApp"]["jpserver_extensions"] == {"cscale_server": True}


def test_what_is_kept_of_documents_is_not_in_the_home_folder(tmp_path: Path) -> None:
    made = with_editing({}, True, tmp_path)
    assert made["ArbitraryFileIdManager"]["db_path"] == str(tmp_path / "names.sqlite")
    assert made["SQLiteYStore"]["db_path"] == str(tmp_path / "documents.sqlite")
    assert made["YDocExtension"]["session_store_path"] == str(tmp_path / "sessions.json")


@pytest.mark.parametrize(
    "group",
    [
        "",
        "vo:",
        "vo:aqua",
        "vo:water.example",
        "vo:aqua.example2",
        "aqua.example",
        "vo:AQUA.example",
    ],
)
def test_other_groups_than_those_of_the_vo_are_refused(group: str) -> None:
    with pytest.raises(NotShared):
        check_group("aqua.example", group)
    with pytest.raises(NotShared):
        check_person("aqua.example", [group])


def test_members_are_let_in() -> None:
    check_server(FILE, "aqua.example", ["vo:aqua.example"])
    check_group("aqua.example", "vo:aqua.example")
    check_group("aqua.example", "vo:aqua.example:manager")
    check_person("aqua.example", ["vo:water.example", "vo:aqua.example"])
    check_scopes(["access:servers!server=me/"], "me", "")


@pytest.mark.parametrize(
    ("vo", "groups"),
    [
        ("aqua.example", []),
        ("aqua.example", ["vo:water.example"]),
        ("water.example", ["vo:water.example"]),
        ("", ["vo:aqua.example"]),
        ("left.example", ["vo:left.example"]),
    ],
)
def test_servers_that_are_not_to_be_shared(vo: str, groups: list[str]) -> None:
    with pytest.raises(NotShared):
        check_server(FILE, vo, groups)
