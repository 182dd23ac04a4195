"""What operators may set of the pages' looks, and what would make them unreadable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cscale_hub.colours import READABLE, contrast, darker
from cscale_hub.settings import BrandingSettings


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colour", ["#f37524", "#777777", "#ffffff", "blue", "#12345", "#1a5fb4;x"])
def test_a_colour_that_cannot_be_read_on_or_is_none_is_refused(colour: str) -> None:
    with pytest.raises(ValidationError):
        BrandingSettings(accent=colour)


@given(st.integers(0, 0xFFFFFF))
def test_under_the_pointer_a_button_is_no_harder_to_read(number: int) -> None:
    colour = f"#{number:06x}"
    if contrast(colour, "#ffffff") >= READABLE:
        assert contrast(darker(colour), "#ffffff") >= READABLE


def test_the_default_can_be_read() -> None:
    assert contrast(BrandingSettings().accent, "#ffffff") >= READABLE


@pytest.mark.parametrize("url", ["javascript:x", "/relative", "data:text/html,x", "http:// x"])
def test_links_lead_to_pages_or_mail_only(url: str) -> None:
    with pytest.raises(ValidationError):
        BrandingSettings(links=({"title": "x", "url": url},))  # type: ignore[arg-type]


def test_a_logo_is_a_picture(tmp_path: object) -> None:
    with pytest.raises(ValidationError, match="must end in one of"):
        BrandingSettings(logo_file=f"{tmp_path}/logo.html")  # type: ignore[arg-type]
