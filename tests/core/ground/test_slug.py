"""The short name of a person."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.identity.slug import user_slug

SUBJECTS = st.from_regex(r"[0-9a-f]{64}@egi\.eu", fullmatch=True)


@given(st.text(min_size=1))
def test_it_is_safe_everywhere_and_always_the_same(subject: str) -> None:
    assert re.fullmatch(r"u[a-z2-7]{11}", user_slug(subject))
    assert user_slug(subject) == user_slug(subject)


@given(SUBJECTS, SUBJECTS)
def test_two_people_have_two_names(first: str, second: str) -> None:
    assert (user_slug(first) == user_slug(second)) is (first == second)


def test_it_never_changes() -> None:
    # Buckets and servers are named by it: a change would part people from their files.
    assert user_slug("0" * 64 + "@egi.eu") == "ugd7y2hrxvpd"


def test_nobody_has_no_name() -> None:
    with pytest.raises(ValueError, match="empty"):
        user_slug("")
