"""Secrets are made once, stay private, and are refused when they are not."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cscale_hub.local.layout import Layout
from cscale_hub.local.people import DEMO_USERS, ensure_people, passwords_file, users_file
from cscale_hub.local.secrets import SecretError, ensure_secret, read_secret, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secret_is_made_once_and_private(tmp_path: Path) -> None:
    first = ensure_secret(tmp_path / "key")
    assert mode(tmp_path / "key") == 0o600
    assert len(bytes.fromhex(first)) == 32
    assert ensure_secret(tmp_path / "key") == first


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660])
def test_secret_readable_by_others_is_refused(tmp_path: Path, wrong: int) -> None:
    write_secret(tmp_path / "key", "s3cret")
    (tmp_path / "key").chmod(wrong)
    with pytest.raises(SecretError, match="chmod 600") as caught:
        read_secret(tmp_path / "key")
    assert "s3cret" not in str(caught.value)


def test_empty_and_missing_secrets_are_refused(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", "\n")
    with pytest.raises(SecretError, match="empty"):
        read_secret(tmp_path / "key")
    with pytest.raises(SecretError, match="absent"):
        read_secret(tmp_path / "absent")


def test_demo_users_are_kept_and_their_passwords_are_not_in_the_issuers_file(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path)
    layout.create()
    passwords = ensure_people(layout)
    assert set(passwords) == {user.username for user in DEMO_USERS}
    assert ensure_people(layout) == passwords
    assert mode(users_file(layout)) == mode(passwords_file(layout)) == 0o600
    text = users_file(layout).read_text(encoding="utf-8")
    assert not any(password in text for password in passwords.values())
    subjects = {user["subject"] for user in json.loads(text)}
    assert len(subjects) == len(DEMO_USERS)
